/** What the age of a token is reckoned from. */
export interface Aging {
  /** When it was created. */
  created: Date;
  /** Its own lifespan in milliseconds, `Infinity` if it never expires; null where the usual one applies. */
  lifespan: number | null;
}

/** The end of a token in milliseconds since the epoch; NaN where its age cannot be reckoned. */
function endOf({ created, lifespan }: Aging, usualLifespanMs: number): number {
  const lifespanMs: unknown = lifespan ?? usualLifespanMs;
  return created instanceof Date && typeof lifespanMs === 'number' ? created.getTime() + lifespanMs : Number.NaN;
}

/**
 * The one rule that says whether a token is live: while now < created + lifespan.
 *
 * It fails closed: an instant or a lifespan that is missing or not a number makes the token expired. That is why it asks
 * for "now is before the end" and not for "the end is past", which NaN would answer with a living token.
 *
 * @param usualLifespanMs - the lifespan of tokens without one of their own
 * @param now - the present, in milliseconds since the epoch
 */
export const isLive = (token: Aging, usualLifespanMs: number, now: number): boolean =>
  now < endOf(token, usualLifespanMs);

/** When a token ends; null if never. */
export function expiryOf(token: Aging, usualLifespanMs: number): Date | null {
  const end = endOf(token, usualLifespanMs);
  return end === Infinity ? null : new Date(end);
}

/** The whole seconds from now to the end (RFC 6749 §5.1 `expires_in`), never negative; null when there is no end. */
export function secondsUntil(end: Date | null, now: number): number | null {
  return end && Math.max(0, Math.floor((end.getTime() - now) / 1000));
}
