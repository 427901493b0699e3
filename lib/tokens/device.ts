import { isUuid } from '../database/uuid-v7.js';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';

/** What one login or one obtain created: a browser, a phone, a script. It is live while any of its tokens is. */
export interface Device {
  /** An opaque id; the `deviceId` of its tokens. */
  id: string;
  /** The name that the client or the user gave it. */
  name: string | null;
  /** The user agent that it was created with. */
  userAgent: string | null;
  /** When its first token was created. */
  createdAt: Date;
  /**
   * When one of its tokens was last used; null if that is not known. The use of a refresh token is rounded to the option
   * `lastUsedAccuracy`.
   */
  lastUsedAt: Date | null;
  /** When its last token expires; null if never. */
  expiresAt: Date | null;
  /** The id of somebody else who uses the device in place of its user; absent for the user's own device. */
  actorId?: string;
}

/** The member `actorId` of what describes a device to others; none for a user's own device. */
export const actorOf = ({ actorId }: { actorId: string | null }): { actorId?: string } =>
  actorId === null ? {} : { actorId };

/**
 * The device that a revocation does not end, as a condition on its rows.
 *
 * @throws ExpiringTokenException `validation_failed` for a value that cannot be a `deviceId`: then nothing is revoked
 */
export function checkExcept(deviceId: string | undefined): { deviceId?: string } {
  if (deviceId === undefined) return {};
  if (!isUuid(deviceId)) {
    throw new ExpiringTokenException('validation_failed', { message: 'except must be a deviceId' });
  }
  return { deviceId };
}

/** Maximum length of a name and of a user agent, in code points. */
const MAX_LABEL_LENGTH = 255;
/** Control characters, line separators, and marks that reverse the direction of the text after them. */
const CONTROLS = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;

/** A name or user agent as it is stored: without control characters, cut at 255 code points; null if nothing is left. */
export function sanitizeLabel(label: string | null | undefined): string | null {
  const clean = [...(label ?? '').toWellFormed().replace(CONTROLS, '')].slice(0, MAX_LABEL_LENGTH).join('');
  return clean.trim() === '' ? null : clean;
}

/** A label with only characters that every encoding has, and the same for the same label. */
export const toAsciiLabel = (label: string | null): string | null => label && label.replace(/[^ -~]/gu, '?');

/**
 * The labels to store if the database cannot store these ones, because its encoding lacks a character: without the name,
 * without the user agent, without both. A label of ASCII characters can be stored in every encoding, and stays.
 */
export function withoutUnstorable<T extends { name?: string | null; userAgent?: string | null }>(labels: T): T[] {
  const removed = [{ name: null }, { userAgent: null }, { name: null, userAgent: null }];
  const isUnstorable = (label: string | null | undefined) => label !== toAsciiLabel(label ?? null);
  return removed
    .filter((without) =>
      (Object.keys(without) as (keyof typeof without)[]).every((key) => isUnstorable(labels[key] ?? null)),
    )
    .map((without) => ({ ...labels, ...without }));
}

/** The later of a stored last use and now: if the clock was set back, a last use does not move back with it. */
export const notBefore = (stored: Date | null, now: Date): Date => (stored && stored > now ? stored : now);
