import { uuidV7 } from '../../database/uuid-v7.js';
import { parseDuration } from '../../options/duration.js';
import { parseScopes } from '../../options/scopes.js';
import { isUserId, USER_ID_RULE } from '../../users/user-id.js';
import { sanitizeLabel } from '../device.js';
import type { ImportedToken } from '../token.interfaces.js';
import type { TokenRow } from '../token.queries.js';
import { digestToken, DRF_KEY, idFromDigest } from './token-secret.js';

const SHA256_HEX = /^[0-9a-f]{64}$/;

function reject(field: string, rule: string): never {
  throw new TypeError(`${field} ${rule}`);
}

function digestOf({ key, digest }: ImportedToken): Buffer {
  if ((key === undefined) === (digest === undefined)) reject('key', 'or digest must be given, and not both');
  if (digest !== undefined) {
    const isDigest = typeof digest === 'string' && SHA256_HEX.test(digest);
    return isDigest ? Buffer.from(digest, 'hex') : reject('digest', 'must be 64 hexadecimal digits in lower case');
  }
  const isKey = typeof key === 'string' && DRF_KEY.test(key);
  return isKey ? digestToken(key) : reject('key', 'must be 40 hexadecimal digits in lower case');
}

function instant(field: string, date: unknown): Date {
  const time = date instanceof Date ? date.getTime() : Number.NaN;
  // The id of the device is a UUIDv7, which has 48 bits for the time.
  return time >= 0 && time < 2 ** 48 ? new Date(time) : reject(field, 'must be a Date from 1970 on');
}

/** What Sanctum wrote into its column `abilities`. */
function scopesOfAbilities(abilities: unknown): unknown {
  if (abilities === null) return [];
  let list = abilities;
  try {
    if (typeof abilities === 'string') list = JSON.parse(abilities);
  } catch {
    // A list is required below.
  }
  if (!Array.isArray(list)) return reject('abilities', 'must be a list, its JSON, or null');
  return list.includes('*') ? null : list;
}

function scopesOf({ scopes, abilities }: ImportedToken, catalogue: readonly string[] | null): string[] | null {
  if (scopes !== undefined && abilities !== undefined) reject('scopes', 'and abilities must not both be given');
  const field = abilities === undefined ? 'scopes' : 'abilities';
  try {
    return parseScopes(abilities === undefined ? scopes : scopesOfAbilities(abilities), catalogue);
  } catch (error) {
    if (error instanceof TypeError) throw error;
    const names = catalogue ? 'names of the option scopes' : 'names without spaces';
    return reject(field, `must be ${names}, at most 1,000 characters of them`);
  }
}

function lifespanOf(lifespan: unknown): number | null {
  if (lifespan === undefined) return null;
  try {
    return parseDuration('lifespan', lifespan, { never: true });
  } catch {
    return reject(
      'lifespan',
      "must be a duration with a unit, such as '30d', a number of milliseconds, or null for never",
    );
  }
}

/**
 * The row of a token that another package issued.
 *
 * @param catalogue - the option `scopes`; null: every scope is known
 * @throws TypeError naming the field, and never the value
 */
export function rowOfImported(imported: ImportedToken, catalogue: readonly string[] | null): TokenRow {
  const { userId, lifespan, name, lastUsedAt } = imported;
  if (!isUserId(userId)) reject('userId', USER_ID_RULE);
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
    scopes: scopesOf(imported, catalogue),
    authenticatedAt: null,
    address: null,
    actorId: null,
  };
}

/**
 * Imports tokens one after another.
 *
 * @param catalogue - the option `scopes`; null: every scope is known
 * @param insert - returns false for a row that exists already
 * @returns how many were new
 * @throws TypeError naming the position and the field of the first token that cannot be imported, and never its value
 */
export async function importTokens(
  tokens: Iterable<ImportedToken> | AsyncIterable<ImportedToken>,
  catalogue: readonly string[] | null,
  insert: (row: TokenRow) => Promise<boolean>,
): Promise<number> {
  let index = 0;
  let added = 0;
  for await (const token of tokens) {
    try {
      if (await insert(rowOfImported(token, catalogue))) added++;
    } catch (error) {
      if (error instanceof TypeError) error.message = `tokens[${index}]: ${error.message}`;
      throw error;
    }
    index++;
  }
  return added;
}
