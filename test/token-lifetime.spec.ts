import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Aging, expiryOf, isLive, secondsUntil } from '../lib/tokens/token-lifetime.js';

const token = (created: unknown, lifespan: unknown = null) => ({ created, lifespan }) as Aging;
const USUAL = 500;

describe('A token is live', () => {
  it('until created + lifespan, and not at that instant', () => {
    expect(isLive(token(new Date(1000)), USUAL, 1499)).toBe(true);
    expect(isLive(token(new Date(1000)), USUAL, 1500)).toBe(false);
  });

  it('by a lifespan of its own before the usual one', () => {
    expect(isLive(token(new Date(1000), 100), USUAL, 1100)).toBe(false);
    expect(isLive(token(new Date(1000), 1000), USUAL, 1999)).toBe(true);
    expect(isLive(token(new Date(1000), Infinity), USUAL, Number.MAX_SAFE_INTEGER)).toBe(true);
    expect(isLive(token(new Date(1000)), Infinity, Number.MAX_SAFE_INTEGER)).toBe(true);
  });

  it('before it was created, by the clock of another process that is behind', () => {
    expect(isLive(token(new Date(1000)), USUAL, 900)).toBe(true);
  });

  it('never, when an instant or a lifespan is missing or not a number', () => {
    const broken = fc.constantFrom(Number.NaN, null, undefined, '1', {}, new Date(Number.NaN));
    fc.assert(
      fc.property(broken, fc.integer(), (value, now) => {
        expect(isLive(token(value), USUAL, now)).toBe(false);
        expect(isLive(token(new Date(now), value), Number.NaN, now)).toBe(false);
        expect(isLive(token(new Date(now)), value as number, now)).toBe(false);
      }),
    );
    expect(isLive(token(new Date(10)), USUAL, Number.NaN)).toBe(false);
  });
});

describe('The end of a token', () => {
  it('is null when it never comes', () => {
    expect(expiryOf(token(new Date(1000)), Infinity)).toBeNull();
    expect(secondsUntil(null, 0)).toBeNull();
  });

  it('is exact to the millisecond, and told in whole seconds that are never negative', () => {
    expect(expiryOf(token(new Date(1000), 1999), USUAL)).toEqual(new Date(2999));
    expect(secondsUntil(new Date(2999), 1000)).toBe(1);
    expect(secondsUntil(new Date(2999), 9000)).toBe(0);
  });
});
