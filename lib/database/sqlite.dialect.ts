import type { ValueTransformer } from 'typeorm';
import { anyOfPlaces, type Dialect, joinOn, orderBehindFixed } from './dialect.js';
import { bytesFromUuid, uuidFromBytes } from './uuid-v7.js';

/** Types of columns that contain numbers or text. */
const COMPARABLE = ['integer', 'int', 'bigint', 'smallint', 'varchar', 'text'];

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
/** The same characters in the order in which SQLite sorts text, so that the order of the ids is that of time. */
const SORTED_BASE64URL = Array.from(BASE64URL).toSorted().join('');

/** By the codes of characters, what becomes of them: a character at a time, it would take longer than the look-up. */
function translation(from: string, to: string): (text: string) => string {
  const codes = new Uint8Array(256);
  for (const [index, character] of Array.from(from).entries()) codes[character.charCodeAt(0)] = to.charCodeAt(index);
  return (text) => {
    const bytes = Buffer.from(text, 'latin1');
    for (let index = 0; index < bytes.length; index++) bytes[index] = codes[bytes[index]!]!;
    return bytes.toString('latin1');
  };
}

const toSorted = translation(BASE64URL, SORTED_BASE64URL);
const fromSorted = translation(SORTED_BASE64URL, BASE64URL);

/**
 * 22 characters, where a blob would take 16 bytes: `libsql`, which stands in for `better-sqlite3` where there is no
 * compiler, returns blobs as ArrayBuffers, and TypeORM takes all rows whose primary key is an ArrayBuffer for one.
 */
const uuidAsText: ValueTransformer = {
  to: (id: unknown) => (typeof id === 'string' ? toSorted(bytesFromUuid(id).toString('base64url')) : id),
  from: (text: unknown) =>
    typeof text === 'string' ? uuidFromBytes(Buffer.from(fromSorted(text), 'base64url')) : text,
};

/** `libsql`, which replaces `better-sqlite3` on machines without a compiler, returns an ArrayBuffer for a blob. */
const blobAsBuffer: ValueTransformer = {
  to: (bytes: unknown) => bytes,
  from: (bytes: unknown) => (bytes instanceof ArrayBuffer ? Buffer.from(bytes) : bytes),
};

/** SQL for SQLite. */
export const sqliteDialect: Dialect = {
  columnTypes: {
    uuid: { type: 'varchar', length: '22', transformer: uuidAsText },
    digest: { type: 'blob', transformer: blobAsBuffer },
    sealed: { type: 'blob', transformer: blobAsBuffer },
  },

  columnTypesDecodedDifferently: ['jsonb'],

  anyOf: anyOfPlaces,

  // In a comparison with a column of numbers, SQLite converts a text that is a number.
  castText: (text, { type, transformer }) => (!transformer && COMPARABLE.includes(type) ? text : null),

  leftJoin: joinOn,

  indexOrder: orderBehindFixed,
};
