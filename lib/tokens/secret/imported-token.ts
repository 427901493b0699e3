import { parseDuration } from '../../options/duration.js';
import { uuidV7 } from '../../database/uuid-v7.js';
import { sanitizeLabel } from '../device.js';
import { digestToken, DRF_KEY, idFromDigest } from './token-secret.js';
import type { ImportedToken } from '../token.interfaces.js';
import type { TokenRow } from '../token.store.js';
import { isUserId, USER_ID_RULE } from '../../users/user-id.js';

const SHA256_HEX = /^[0-9a-f]{64}$/;

function refuse(field: string, remedy: string): never {
  throw new TypeError(`${field} ${remedy}`);
}

function digestOf({ key, digest }: ImportedToken): Buffer {
  if ((key === undefined) === (digest === undefined)) refuse('key', 'or digest must be given, and not both');
  if (digest !== undefined) {
    const isDigest = typeof digest === 'string' && SHA256_HEX.test(digest);
    return isDigest ? Buffer.from(digest, 'hex') : refuse('digest', 'must be 64 hexadecimal digits in lower case');
  }
  const isKey = typeof key === 'string' && DRF_KEY.test(key);
  return isKey ? digestToken(key) : refuse('key', 'must be 40 hexadecimal digits in lower case');
}

function instant(field: string, date: unknown): Date {
  const time = date instanceof Date ? date.getTime() : Number.NaN;
  // The first 48 bits of a UUIDv7, which its device gets.
  return time >= 0 && time < 2 ** 48 ? new Date(time) : refuse(field, 'must be a Date from 1970 on');
}

function lifespanOf(lifespan: unknown): number | null {
  if (lifespan === undefined) return null;
  try {
    return parseDuration('lifespan', lifespan, { never: true });
  } catch {
    return refuse(
      'lifespan',
      "must be a duration with a unit, such as '30d', a number of milliseconds, or null for never",
    );
  }
}

/**
 * The row of a token that another package issued.
 *
 * @throws TypeError naming the field, and never the value
 */
export function rowOfImported(imported: ImportedToken): TokenRow {
  const { userId, lifespan, name, lastUsedAt } = imported;
  if (!isUserId(userId)) refuse('userId', USER_ID_RULE);
  const digest = digestOf(imported);
  const created = instant('created', imported.created);
  return {
    id: idFromDigest(digest),
    userId,
    deviceId: uuidV7(created.getTime()),
    purpose: 'access',
    digest,
    name: sanitizeLabel(name),
    userAgent: null,
    created,
    lifespan: lifespanOf(lifespan),
    lastUsedAt: lastUsedAt ? instant('lastUsedAt', lastUsedAt) : null,
  };
}
