import { createHmac, hash, randomBytes, timingSafeEqual, type KeyObject } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { bytesFromUuid, uuidFromBytes, uuidFromHex } from '../../database/uuid-v7.js';
import { ImportedShape } from '../../options/expiring-token.options.js';

/*
 * A token is   prefix · base64url(id · secret bits) · base64url(checksum)
 *
 * The id is that of the token's row, so the row is found by its primary key. The 48 bytes of id and secret bits fill 64
 * characters exactly: no two strings decode to the same bytes.
 */
const ID_BYTES = 16;
/** Two characters hold three hexadecimal digits: these hold one more than an id has. */
const ID_CHARACTERS = 22;
/** 256 bits: infeasible to guess (RFC 6750 §5.2). */
const SECRET_BYTES = 32;
const BODY_CHARACTERS = 64;
/** CRC-32 is 4 bytes, 6 characters without padding. */
const CHECKSUM_CHARACTERS = 6;
const BASE64URL = /^[A-Za-z0-9_-]+$/;

/** What the HMAC is for, so that the same key used elsewhere yields nothing of use here. */
const DERIVATION_CONTEXT = 'nestjs-expiring-token obtained token v1';

const BASE64URL_ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
/** By the code of a character of the alphabet, its six bits. */
const SIX_BITS = new Uint8Array(128);
for (let bits = 0; bits < 64; bits++) SIX_BITS[BASE64URL_ALPHABET.charCodeAt(bits)] = bits;
/** The digits of 12 bits. */
const THREE_DIGITS = Array.from({ length: 4096 }, (_, bits) => bits.toString(16).padStart(3, '0'));

/** CRC-32 of everything before it: a mistyped or invented token is told apart without a digest or a query. */
function checksum(text: string): string {
  const crc = crc32(text);
  // The characters of its four bytes, without a buffer: this is done on each request.
  let characters = '';
  for (const shift of [26, 20, 14, 8, 2]) characters += BASE64URL_ALPHABET[(crc >>> shift) & 63];
  return characters + BASE64URL_ALPHABET[(crc << 4) & 63];
}

/** The id that base64url text holds from a place on, without a buffer: this is done on each request. */
function idAt(text: string, start: number): string {
  let digits = '';
  for (let at = start; at < start + ID_CHARACTERS; at += 2) {
    digits += THREE_DIGITS[(SIX_BITS[text.charCodeAt(at)]! << 6) | SIX_BITS[text.charCodeAt(at + 1)]!];
  }
  return uuidFromHex(digits);
}

function compose(prefix: string, id: string, secret: Buffer): string {
  const text = prefix + Buffer.concat([bytesFromUuid(id), secret]).toString('base64url');
  return text + checksum(text);
}

/** A new token for a row: 256 bits from the system's secure random source. */
export const generateToken = (prefix: string, id: string): string => compose(prefix, id, randomBytes(SECRET_BYTES));

/**
 * The token that a key makes for a row: the same one every time, so that it can be shown again although only its digest
 * is stored. Whoever has the key and the ids of the rows has the tokens.
 */
export const deriveToken = (prefix: string, id: string, key: KeyObject): string =>
  compose(prefix, id, createHmac('sha256', key).update(DERIVATION_CONTEXT).update(bytesFromUuid(id)).digest());

/**
 * The id of the row that a presented token names, or null when it cannot be a token of ours by type, prefix, length,
 * alphabet or checksum. Nothing else is asked before that.
 */
export function parseToken(prefix: string, presented: unknown): string | null {
  if (typeof presented !== 'string') return null;
  if (presented.length !== prefix.length + BODY_CHARACTERS + CHECKSUM_CHARACTERS) return null;
  if (!presented.startsWith(prefix) || !BASE64URL.test(presented.slice(prefix.length))) return null;
  const checked = presented.slice(0, -CHECKSUM_CHARACTERS);
  if (!presented.endsWith(checksum(checked))) return null;
  return idAt(presented, prefix.length);
}

/** A key of Django REST framework. */
export const DRF_KEY = /^([0-9a-f]{40})$/;
/**
 * What tokens of other packages look like. The group is what is digested: Sanctum leaves out the key of the row, which may
 * be a number, a UUID or a ULID; its token may have a prefix.
 */
const IMPORTED_SHAPES: Readonly<Record<ImportedShape, RegExp>> = {
  drf: DRF_KEY,
  sanctum: /^(?:[A-Za-z0-9][A-Za-z0-9-]{0,35}\|)?([A-Za-z0-9._~+/-]{40,128})$/,
};

/** Where the row of a presented token is, and what its digest is of. */
export interface Identity {
  id: string;
  digested: string;
}

/** The id of an imported token's row: the first 128 bits of its digest, since the token carries none. */
export const idFromDigest = (digest: Buffer): string => uuidFromBytes(digest.subarray(0, ID_BYTES));

/**
 * Where to look for a presented token, or null when it can be neither one of ours nor an imported one.
 *
 * @param imported - the shapes of imported tokens that are admitted
 */
export function identifyToken(prefix: string, presented: unknown, imported: readonly ImportedShape[]): Identity | null {
  const id = parseToken(prefix, presented);
  if (id !== null) return { id, digested: presented as string };
  if (typeof presented !== 'string') return null;
  for (const shape of imported) {
    const digested = IMPORTED_SHAPES[shape].exec(presented)?.[1];
    if (digested !== undefined) return { id: idFromDigest(digestToken(digested)), digested };
  }
  return null;
}

/** The SHA-256 of the whole token as presented: all that is stored of it. Its 256 random bits need no slower hash. */
export const digestToken = (token: string): Buffer => hash('sha256', token, 'buffer');

/** Whether a stored digest is that of the token, in a time that does not depend on where they differ. */
export function matchesDigest(token: string, stored: Buffer): boolean {
  const digest = digestToken(token);
  return digest.length === stored.length && timingSafeEqual(digest, stored);
}

/** {@link digestToken} as a key of a map. */
export const digestKey = (token: string): string => hash('sha256', token, 'base64url');
