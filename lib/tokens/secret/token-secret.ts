import { createHmac, hash, randomBytes, timingSafeEqual, type KeyObject } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { bytesFromUuid, uuidFromBytes } from '../../database/uuid-v7.js';
import type { ImportedShape } from '../../options/expiring-token.options.js';

/*
 * A token is   prefix · base64url(id · secret bits · checksum)
 *
 * The id is that of the token's row, so the row is found by its primary key. The checksum is the CRC-32 of all characters
 * before it: a mistyped or invented token is recognized without a digest or a query.
 */
const ID_BYTES = 16;
/** 256 bits: infeasible to guess (RFC 6750 §5.2). */
const SECRET_BYTES = 32;
/** The 48 bytes before the checksum are 64 characters exactly; its 4 bytes are 6 characters without padding. */
const CHECKSUM_CHARACTERS = 6;
const ENCODED_CHARACTERS = 64 + CHECKSUM_CHARACTERS;
/** Whole groups of 4 characters that contain the id. */
const ID_CHARACTERS = 24;

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const BASE64URL_ONLY = /^[\w-]*$/;

/** The purpose of the HMAC: if the same key is used elsewhere, its results there are useless here. */
const DERIVATION_CONTEXT = 'nestjs-expiring-token obtained token v1';

/** The CRC-32 of a text in base64url: 4 bytes from the highest one, of which the last character holds 2 bits. */
function checksumOf(text: string): string {
  const crc = crc32(text);
  let characters = '';
  for (let shift = 26; shift > 0; shift -= 6) characters += BASE64URL[(crc >>> shift) & 63]!;
  return characters + BASE64URL[(crc & 3) << 4]!;
}

function compose(prefix: string, id: string, secret: Buffer): string {
  const text = prefix + Buffer.concat([bytesFromUuid(id), secret]).toString('base64url');
  return text + checksumOf(text);
}

/** A new token for a row: 256 bits from the system's secure random source. */
export const generateToken = (prefix: string, id: string): string => compose(prefix, id, randomBytes(SECRET_BYTES));

/**
 * The token that a key yields for a row: the same one every time, so that it can be shown again although only its digest is
 * stored. An attacker with the key and the ids of the rows has the tokens.
 */
export const deriveToken = (prefix: string, id: string, key: KeyObject): string =>
  compose(prefix, id, createHmac('sha256', key).update(DERIVATION_CONTEXT).update(bytesFromUuid(id)).digest());

/**
 * Whether a value can be one of our tokens, by its type, prefix, length, alphabet and checksum. No digest and no query is needed.
 *
 * @param prefixes - of which a token begins with one; none of them begins with another
 */
function isWellFormed(prefixes: readonly string[], presented: unknown): presented is string {
  if (typeof presented !== 'string') return false;
  const prefix = prefixes.find((each) => presented.startsWith(each));
  return (
    presented.length === (prefix?.length ?? Number.NaN) + ENCODED_CHARACTERS &&
    // Of the encoded checksum only the one spelling is accepted, and the characters before it have no spare bits: so no two
    // strings are the same token.
    BASE64URL_ONLY.test(presented) &&
    presented.endsWith(checksumOf(presented.slice(0, -CHECKSUM_CHARACTERS)))
  );
}

/** The id of the row that a presented token names; null if the value cannot be one of our tokens. */
export const parseToken = (prefixes: readonly string[], presented: unknown): string | null =>
  isWellFormed(prefixes, presented) ? idIn(presented) : null;

/** The id in a token, which is behind the prefix. */
const idIn = (token: string): string =>
  uuidFromBytes(Buffer.from(token.slice(-ENCODED_CHARACTERS, ID_CHARACTERS - ENCODED_CHARACTERS), 'base64url'));

/** A key of Django REST framework. */
export const DRF_KEY = /^([0-9a-f]{40})$/;
/**
 * The shapes of other packages' tokens. The group is the part whose digest is stored: Sanctum leaves out the key of the row,
 * which may be a number, a UUID or a ULID. Its token may have a prefix.
 */
const IMPORTED_SHAPES: Readonly<Record<ImportedShape, RegExp>> = {
  drf: DRF_KEY,
  sanctum: /^(?:[A-Za-z0-9][A-Za-z0-9-]{0,35}\|)?([A-Za-z0-9._~+/-]{40,128})$/,
};

/** The row that a presented token names, and the part of the token whose digest the row must hold. */
export interface Identity {
  readonly id: string;
  readonly digested: string;
}

/** One of our tokens. A cached token is found by its digest, so its id is computed for a query only. */
class OwnToken implements Identity {
  private knownId?: string;

  constructor(readonly digested: string) {}

  get id(): string {
    this.knownId ??= idIn(this.digested);
    return this.knownId;
  }
}

/** The id of an imported token's row: the first 128 bits of its digest, because such a token holds no id. */
export const idFromDigest = (digest: Buffer): string => uuidFromBytes(digest.subarray(0, ID_BYTES));

/**
 * The row that a presented token names; null if the value can be neither one of our tokens nor an imported one.
 *
 * @param imported - the shapes of imported tokens that are accepted
 */
export function identifyToken(
  prefixes: readonly string[],
  presented: unknown,
  imported: readonly ImportedShape[],
): Identity | null {
  if (isWellFormed(prefixes, presented)) return new OwnToken(presented);
  if (typeof presented !== 'string') return null;
  for (const shape of imported) {
    const digested = IMPORTED_SHAPES[shape].exec(presented)?.[1];
    if (digested !== undefined) return { id: idFromDigest(digestToken(digested)), digested };
  }
  return null;
}

/**
 * The SHA-256 of the whole token as presented: nothing else of it is stored. Its 256 random bits need no slower hash.
 *
 * Converted from a string: a buffer of `hash` has memory of its own, which takes several times as long as the digest.
 */
export const digestToken = (token: string): Buffer => Buffer.from(hash('sha256', token, 'binary'), 'binary');

/** Whether a stored digest is that of the token, compared in constant time. */
export function matchesDigest(token: string, stored: Buffer): boolean {
  const digest = digestToken(token);
  return digest.length === stored.length && timingSafeEqual(digest, stored);
}

/** {@link digestToken} as a key of a map. */
export const digestKey = (token: string): string => hash('sha256', token, 'base64url');
