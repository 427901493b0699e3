import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expiryOf, isLive, secondsUntil } from '../lib/tokens/token-lifetime.js';

describe('A token is live', () => {
  it('until created + lifespan, and not at that instant', () => {
    expect(isLive(1000, 500, 1499)).toBe(true);
    expect(isLive(1000, 500, 1500)).toBe(false);
    expect(isLive(1000, Infinity, Number.MAX_SAFE_INTEGER)).toBe(true);
  });

  it('before it was created, by the clock of another process that is behind', () => {
    expect(isLive(1000, 500, 900)).toBe(true);
  });

  it('never, when an instant or a lifespan is missing or not a number', () => {
    const broken = fc.constantFrom(
      Number.NaN,
      null,
      undefined,
      '1',
      {},
      new Date(Number.NaN).getTime(),
    ) as fc.Arbitrary<never>;
    fc.assert(fc.property(broken, fc.integer(), (value, now) => !isLive(value, 10, now) && !isLive(10, value, now)));
    expect(isLive(10, 10, Number.NaN)).toBe(false);
  });
});

describe('The end of a token', () => {
  it('is null when it never comes', () => {
    expect(expiryOf(1000, Infinity)).toBeNull();
    expect(secondsUntil(null, 0)).toBeNull();
  });

  it('is exact to the millisecond, and told in whole seconds that are never negative', () => {
    expect(expiryOf(1000, 1999)).toEqual(new Date(2999));
    expect(secondsUntil(new Date(2999), 1000)).toBe(1);
    expect(secondsUntil(new Date(2999), 9000)).toBe(0);
  });
});
