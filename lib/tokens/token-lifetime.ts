/** An instant or a length of time in a form that arithmetic understands; anything else counts as expired. */
type Milliseconds = number | null | undefined;

/**
 * The one rule that says whether a token is live: while now < created + lifespan.
 *
 * It fails closed: an instant or a lifespan that is missing or not a number makes the token expired. That is why it asks
 * for "now is before the end" and not for "the end is past", which NaN would answer with a living token.
 *
 * @param created - when the token was made, in milliseconds since the epoch
 * @param lifespanMs - how long it lives, in milliseconds; `Infinity` for a token that never expires
 * @param now - the present, in milliseconds since the epoch
 */
export function isLive(created: Milliseconds, lifespanMs: Milliseconds, now: number): boolean {
  return typeof created === 'number' && typeof lifespanMs === 'number' && now < created + lifespanMs;
}

/** When a token ends, or null when it never does. The parameters are those of {@link isLive}. */
export function expiryOf(created: number, lifespanMs: number): Date | null {
  return lifespanMs === Infinity ? null : new Date(created + lifespanMs);
}

/** The whole seconds from now to the end (RFC 6749 §5.1 `expires_in`), never negative; null when there is no end. */
export function secondsUntil(end: Date | null, now: number): number | null {
  return end && Math.max(0, Math.floor((end.getTime() - now) / 1000));
}
