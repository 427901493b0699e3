import { Inject, Injectable } from '@nestjs/common';
import type { Statement } from '../database/dialect.js';
import { CLOCK, type Clock, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import type { Lifetime, ResolvedOptions } from '../options/resolve-options.js';
import { NEVER_MS } from './token.entity.js';
import { PURPOSE_RULES, type PurposeRules, PURPOSES, type TokenPurpose } from './token-purpose.js';

/** The lifetime of each purpose. */
export type Lifetimes = Readonly<Record<TokenPurpose, Lifetime>>;

/** The columns from which the age of a token is computed. */
export interface TokenAge {
  purpose: TokenPurpose;
  /** When the token was created; for a refresh token, when its device logged in. */
  created: Date;
  /** The token's own lifespan in milliseconds, `Infinity` if it never expires; null if that of its purpose applies. */
  lifespan: number | null;
  /** When the token was last used; null if it never was. */
  lastUsedAt: Date | null;
}

/** The lifetime of each purpose, from the options and the table of purposes. */
export function lifetimesOf({
  accessLifetime,
  refreshLifetime,
  personalLifetime,
}: Pick<ResolvedOptions, 'accessLifetime' | 'refreshLifetime' | 'personalLifetime'>): Lifetimes {
  const byName: Record<PurposeRules['lifetime'], Lifetime> = {
    access: accessLifetime,
    refresh: refreshLifetime,
    // As long as an unused refresh token lives: after that a replay is rejected with the row or without it.
    rotated: { ...refreshLifetime, lifespanMs: refreshLifetime.idleMs, idleMs: Infinity },
    personal: personalLifetime,
  };
  return Object.fromEntries(PURPOSES.map((purpose) => [purpose, byName[PURPOSE_RULES[purpose].lifetime]])) as Lifetimes;
}

const isNumber = (value: unknown): value is number => typeof value === 'number';
const millisecondsOf = (date: unknown) => (date instanceof Date ? date.getTime() : Number.NaN);

/** When a token expires, in milliseconds since the epoch; NaN if that cannot be computed. */
function expiryMsOf({ purpose, created, lifespan, lastUsedAt }: TokenAge, lifetimes: Lifetimes): number {
  const { lifespanMs, idleMs } = lifetimes[purpose] ?? {};
  const ownLifespanMs: unknown = lifespan ?? lifespanMs;
  if (!isNumber(ownLifespanMs) || !isNumber(idleMs)) return Number.NaN;
  return Math.min(millisecondsOf(created) + ownLifespanMs, millisecondsOf(lastUsedAt ?? created) + idleMs);
}

/**
 * The one rule of validity: a token is live while now < created + lifespan, and now < last use + idle.
 *
 * It fails closed: if an instant or a lifespan is missing or not a number, the token is expired. That is why the rule is
 * "now is before the end" and not "the end is not past": with NaN, the second one would be true for ever.
 *
 * @param now - the present, in milliseconds since the epoch
 */
export const isLive = (token: TokenAge, lifetimes: Lifetimes, now: number): boolean =>
  now < expiryMsOf(token, lifetimes);

/**
 * The opposite of {@link isLive} as an SQL condition, for `Table.statement`. For a row whose age cannot be computed neither
 * the condition nor its negation holds: it is neither used nor deleted.
 *
 * @returns the condition that a token is expired at an instant
 */
export function expiredCondition(lifetimes: Lifetimes): (at: number) => Statement {
  // Subtracted from the instant: adding to what a damaged row holds could overflow.
  const sql =
    `({created} <= ? - ${lifespanSql(lifetimes)}` +
    ` OR COALESCE({lastUsedAt}, {created}) <= ? - ${limitSql(lifetimes, 'idleMs')})`;
  return (at) => ({ sql, values: [at, at] });
}

/** The largest instant of a `Date`, in milliseconds since the epoch. */
const MAX_INSTANT_MS = 8.64e15;

/**
 * {@link isLive} as an SQL condition, for `Table.statement`. As there, a row whose age cannot be computed is not live.
 *
 * @returns the condition that a token is live at an instant
 */
export function liveCondition(lifetimes: Lifetimes): (at: number) => Statement {
  const expired = expiredCondition(lifetimes);
  const isInstant = (value: string) => `${value} BETWEEN ${-MAX_INSTANT_MS} AND ${MAX_INSTANT_MS}`;
  const isKnown = `${isInstant('{created}')} AND ${isInstant('COALESCE({lastUsedAt}, {created})')}`;
  return (at) => {
    const { sql, values } = expired(at);
    return { sql: `(${isKnown} AND NOT ${sql})`, values };
  };
}

/**
 * {@link expiryOf} as SQL, for `Table.statement`: when a token expires, in milliseconds since the epoch, or {@link NEVER_MS}.
 *
 * @param lastUse - SQL for its last use
 */
export function expirySql(lifetimes: Lifetimes, lastUse = '{lastUsedAt}'): string {
  // Compared before it is added, so that the sum cannot overflow.
  const end = (start: string, life: string) =>
    `CASE WHEN ${start} >= ${NEVER_MS} - ${life} THEN ${NEVER_MS} ELSE ${start} + ${life} END`;
  const ofAge = end('{created}', lifespanSql(lifetimes));
  const ofIdle = end(`COALESCE(${lastUse}, {created})`, limitSql(lifetimes, 'idleMs'));
  return `CASE WHEN ${ofAge} <= ${ofIdle} THEN ${ofAge} ELSE ${ofIdle} END`;
}

/**
 * The last use of a token, rounded down to a multiple of the option `lastUsedAccuracy` after its creation, as SQL for
 * `Table.statement`.
 */
export const roundedLastUseSql = (accuracyMs: number): string =>
  `{lastUsedAt} - ({lastUsedAt} - {created}) % ${accuracyMs}`;

/**
 * Rounds an instant down to a multiple of the option `lastUsedAccuracy` after another one. {@link NEVER_MS} stays. All values
 * are in milliseconds.
 */
export const roundedSince = (sinceMs: number, atMs: number, accuracyMs: number): number =>
  atMs >= NEVER_MS || atMs <= sinceMs ? atMs : atMs - ((atMs - sinceMs) % accuracyMs);

/** SQL for one limit of the lifetime of a token's purpose. */
function limitSql(lifetimes: Lifetimes, limit: keyof Lifetime): string {
  const cases = PURPOSES.map((purpose) => `WHEN '${purpose}' THEN ${Math.min(lifetimes[purpose][limit], NEVER_MS)}`);
  return `CASE {purpose} ${cases.join(' ')} END`;
}

/** SQL for the lifespan of a token: its own, or that of its purpose. */
const lifespanSql = (lifetimes: Lifetimes) => `COALESCE({lifespan}, ${limitSql(lifetimes, 'lifespanMs')})`;

/** When a token expires unless it is used before; null if never. */
export function expiryOf(token: TokenAge, lifetimes: Lifetimes): Date | null {
  const end = expiryMsOf(token, lifetimes);
  return end === Infinity ? null : new Date(end);
}

/**
 * How long a token that is never used lives, in milliseconds; NaN if that cannot be computed. Tokens of one purpose with the
 * same lifespan cannot expire earlier.
 */
export const unusedLifeMs = (token: Pick<TokenAge, 'purpose' | 'lifespan'>, lifetimes: Lifetimes): number =>
  expiryMsOf({ ...token, created: new Date(0), lastUsedAt: null }, lifetimes);

/** The whole seconds from now to the end (RFC 6749 §5.1 `expires_in`), never negative; null if there is no end. */
export function secondsUntil(end: Date | null, now: number): number | null {
  return end && Math.max(0, Math.floor((end.getTime() - now) / 1000));
}

/** The rule of validity with the lifetimes and the clock of this application. */
@Injectable()
export class TokenValidity {
  readonly lifetimes: Lifetimes;

  constructor(
    @Inject(RESOLVED_OPTIONS) options: ResolvedOptions,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {
    this.lifetimes = lifetimesOf(options);
  }

  isLive(token: TokenAge): boolean {
    return isLive(token, this.lifetimes, this.clock());
  }

  expiryOf(token: TokenAge): Date | null {
    return expiryOf(token, this.lifetimes);
  }
}
