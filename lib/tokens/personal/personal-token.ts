import type { Duration } from '../../options/duration.js';
import type { Token } from '../token.entity.js';
import type { ChangeOptions } from '../token.interfaces.js';

/** A personal access token as its user sees it. */
export interface PersonalToken {
  /** An opaque id, which stays the same when the token is rotated; the `deviceId` of its row. */
  id: string;
  /** The name that its user gave it. */
  name: string;
  /** What it may do; null: everything that its user may do. */
  scopes: string[] | null;
  /** When it was made, or last rotated. */
  createdAt: Date;
  /** When it expires; null if never. */
  expiresAt: Date | null;
  /** When it was last used, as exactly as the option `lastUsedAccuracy` says; null if it never was. */
  lastUsedAt: Date | null;
}

/** Options of a new personal token. */
export interface PersonalTokenOptions extends ChangeOptions {
  /** Its name, stored without control characters, cut at 255 code points. */
  name: string;
  /** What it may do, as names of the option `scopes`; null or undefined: everything that its user may do. */
  scopes?: readonly string[] | null;
  /** How long it is valid, at most `personal.longest`; null: it never expires. By default `personal.lifespan`. */
  lifespan?: Duration | null;
}

/** Options of a rotation. */
export interface RotateOptions extends ChangeOptions {
  /** How long the earlier secret stays valid: at most 7 days, by default 0. A number is milliseconds, and at least 1,000. */
  overlap?: Duration;
}

/** A personal token as it is shown, of its row and the instant when it expires. */
export function toPersonalToken(token: Token, expiresAt: Date | null): PersonalToken {
  const { deviceId: id, name, scopes, created: createdAt, lastUsedAt } = token;
  return { id, name: name ?? '', scopes, createdAt, expiresAt, lastUsedAt };
}
