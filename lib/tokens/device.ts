import { isUuid } from '../database/uuid-v7.js';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { expiryOf, isLive, type Lifetimes } from './token-lifetime.js';
import type { Token } from './token.entity.js';

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
  /** When one of its tokens was last used; null if that is not known. */
  lastUsedAt: Date | null;
  /** When its last token expires; null if never. */
  expiresAt: Date | null;
}

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

/** The live devices that the tokens of a user make, newest first. */
export function liveDevices(tokens: readonly Token[], lifetimes: Lifetimes, now: number): Device[] {
  const byDevice = new Map<string, Token[]>();
  for (const token of tokens.filter((candidate) => isLive(candidate, lifetimes, now))) {
    byDevice.set(token.deviceId, [...(byDevice.get(token.deviceId) ?? []), token]);
  }
  const devices = [...byDevice].map(([id, own]) => {
    const ends = own.map((token) => expiryOf(token, lifetimes));
    return {
      id,
      name: own[0]!.name,
      userAgent: own[0]!.userAgent,
      createdAt: earliest(own.map((token) => token.created)),
      lastUsedAt: latest(own.map((token) => token.lastUsedAt).filter((date) => date !== null)),
      expiresAt: ends.includes(null) ? null : latest(ends as Date[]),
    };
  });
  return devices.toSorted((a, b) => b.createdAt.getTime() - a.createdAt.getTime() || (a.id < b.id ? 1 : -1));
}

/** Of devices that are sorted newest first, those that were not used for the longest time; of equals, the older ones. */
export const leastRecentlyUsed = (devices: readonly Device[], count: number): Device[] =>
  devices
    .toReversed()
    .toSorted((a, b) => lastSeenMs(a) - lastSeenMs(b))
    .slice(0, count);

const lastSeenMs = ({ createdAt, lastUsedAt }: Device) => Math.max(createdAt.getTime(), lastUsedAt?.getTime() ?? 0);

const latest = (dates: Date[]) => dates.reduce<Date | null>((last, date) => (last && last >= date ? last : date), null);
const earliest = (dates: Date[]) => dates.reduce((first, date) => (first <= date ? first : date));
