import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type TokenAge, expiryOf, isLive, type Lifetimes, secondsUntil } from '../lib/tokens/token-lifetime.js';

const token = (created: unknown, lifespan: unknown = null, lastUsedAt: unknown = null) =>
  ({ purpose: 'access', created, lifespan, lastUsedAt }) as TokenAge;

/** The lifetimes of a module with the given lifetimes of access tokens. */
const lifetimes = (lifespanMs: unknown, idleMs: unknown) => ({ access: { lifespanMs, idleMs } }) as Lifetimes;

const USUAL = lifetimes(500, Infinity);

describe('A token is valid', () => {
  it('until created + lifespan, exclusive', () => {
    expect(isLive(token(new Date(1000)), USUAL, 1499)).toBe(true);
    expect(isLive(token(new Date(1000)), USUAL, 1500)).toBe(false);
  });

  it("by its own lifespan rather than the module's", () => {
    expect(isLive(token(new Date(1000), 100), USUAL, 1100)).toBe(false);
    expect(isLive(token(new Date(1000), 1000), USUAL, 1999)).toBe(true);
    expect(isLive(token(new Date(1000), Infinity), USUAL, Number.MAX_SAFE_INTEGER)).toBe(true);
    expect(isLive(token(new Date(1000)), lifetimes(Infinity, Infinity), Number.MAX_SAFE_INTEGER)).toBe(true);
  });

  it('before its creation time, for the clock of a process that is behind', () => {
    expect(isLive(token(new Date(1000)), USUAL, 900)).toBe(true);
  });

  it('never, if an instant or a lifespan is missing or not a number', () => {
    const broken = fc.constantFrom(Number.NaN, null, undefined, '1', {}, new Date(Number.NaN));
    fc.assert(
      fc.property(broken, fc.integer(), (value, now) => {
        expect(isLive(token(value), USUAL, now)).toBe(false);
        expect(isLive(token(new Date(now), value), lifetimes(Number.NaN, Infinity), now)).toBe(false);
        expect(isLive(token(new Date(now)), lifetimes(value, Infinity), now)).toBe(false);
        expect(isLive(token(new Date(now), 1000), lifetimes(500, value), now)).toBe(false);
        if (value !== null && value !== undefined) {
          expect(isLive(token(new Date(now), null, value), lifetimes(500, 500), now)).toBe(false);
        }
      }),
    );
    expect(isLive(token(new Date(10)), USUAL, Number.NaN)).toBe(false);
    expect(isLive({ ...token(new Date(10)), purpose: 'unheard of' as 'access' }, USUAL, 10)).toBe(false);
  });

  it('until last use + idle, counted from its creation until the first use', () => {
    const idle = lifetimes(500, 100);
    expect(isLive(token(new Date(1000)), idle, 1099)).toBe(true);
    expect(isLive(token(new Date(1000)), idle, 1100)).toBe(false);
    expect(isLive(token(new Date(1000), null, new Date(1050)), idle, 1149)).toBe(true);
    expect(isLive(token(new Date(1000), null, new Date(1050)), idle, 1150)).toBe(false);
    expect(isLive(token(new Date(1000), Infinity, new Date(1050)), idle, 1150)).toBe(false);
  });

  it('no longer than its lifespan, however much it is used', () => {
    expect(isLive(token(new Date(1000), null, new Date(1490)), lifetimes(500, 100), 1500)).toBe(false);
  });
});

describe('The expiry of a token', () => {
  it('is null if the token never expires', () => {
    expect(expiryOf(token(new Date(1000)), lifetimes(Infinity, Infinity))).toBeNull();
    expect(secondsUntil(null, 0)).toBeNull();
  });

  it('is the earlier one of lifespan and idle', () => {
    expect(expiryOf(token(new Date(1000)), lifetimes(500, 100))).toEqual(new Date(1100));
    expect(expiryOf(token(new Date(1000), null, new Date(1450)), lifetimes(500, 100))).toEqual(new Date(1500));
    expect(expiryOf(token(new Date(1000)), lifetimes(Infinity, 100))).toEqual(new Date(1100));
  });

  it('is exact to the millisecond, and is returned in whole seconds that are never negative', () => {
    expect(expiryOf(token(new Date(1000), 1999), USUAL)).toEqual(new Date(2999));
    expect(secondsUntil(new Date(2999), 1000)).toBe(1);
    expect(secondsUntil(new Date(2999), 9000)).toBe(0);
  });
});
