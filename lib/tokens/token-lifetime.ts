import type { TokenPurpose } from './token.entity.js';

/** How long tokens of a kind live, in milliseconds; `Infinity` where there is no end. */
export interface Lifetime {
  /** After creation. Does not apply to a token that has a lifespan of its own. */
  readonly lifespanMs: number;
  /** After last use. */
  readonly idleMs: number;
}

/** The lifetime of each kind of token. */
export type Lifetimes = Readonly<Record<TokenPurpose, Lifetime>>;

/** What the age of a token is reckoned from. */
export interface TokenAge {
  purpose: TokenPurpose;
  /** When it was created; of a refresh token, when its device logged in. */
  created: Date;
  /** Its own lifespan in milliseconds, `Infinity` if it never expires; null where the usual one applies. */
  lifespan: number | null;
  /** When it was last used; null if it never was. */
  lastUsedAt: Date | null;
}

const isNumber = (value: unknown): value is number => typeof value === 'number';
const millisecondsOf = (date: unknown) => (date instanceof Date ? date.getTime() : Number.NaN);

/** The end of a token in milliseconds since the epoch, by age or by idling; NaN where it cannot be reckoned. */
function expiryMsOf({ purpose, created, lifespan, lastUsedAt }: TokenAge, lifetimes: Lifetimes): number {
  const { lifespanMs, idleMs } = lifetimes[purpose] ?? {};
  const ownLifespanMs: unknown = lifespan ?? lifespanMs;
  if (!isNumber(ownLifespanMs) || !isNumber(idleMs)) return Number.NaN;
  return Math.min(millisecondsOf(created) + ownLifespanMs, millisecondsOf(lastUsedAt ?? created) + idleMs);
}

/**
 * The one rule that says whether a token is live: while now < created + lifespan, and now < last use + idle.
 *
 * It fails closed: an instant or a lifespan that is missing or not a number makes the token expired. That is why it asks
 * for "now is before the end" and not for "the end is past", which NaN would answer with a living token.
 *
 * @param now - the present, in milliseconds since the epoch
 */
export const isLive = (token: TokenAge, lifetimes: Lifetimes, now: number): boolean =>
  now < expiryMsOf(token, lifetimes);

/** When a token ends unless it is used before; null if never. */
export function expiryOf(token: TokenAge, lifetimes: Lifetimes): Date | null {
  const end = expiryMsOf(token, lifetimes);
  return end === Infinity ? null : new Date(end);
}

/** The whole seconds from now to the end (RFC 6749 §5.1 `expires_in`), never negative; null when there is no end. */
export function secondsUntil(end: Date | null, now: number): number | null {
  return end && Math.max(0, Math.floor((end.getTime() - now) / 1000));
}
