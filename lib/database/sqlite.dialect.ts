import type { ValueTransformer } from 'typeorm';
import { anyOfPlaces, type Dialect, joinOn, orderBehindFixed } from './dialect.js';

/** Types of columns that contain numbers or text. */
const COMPARABLE = ['integer', 'int', 'bigint', 'smallint', 'varchar', 'text'];

/** `libsql`, which replaces `better-sqlite3` on machines without a compiler, returns an ArrayBuffer for a blob. */
const blobAsBuffer: ValueTransformer = {
  to: (bytes: unknown) => bytes,
  from: (bytes: unknown) => (bytes instanceof ArrayBuffer ? Buffer.from(bytes) : bytes),
};

/** SQL for SQLite. */
export const sqliteDialect: Dialect = {
  columnTypes: {
    // Text, so that people can search for it. As a blob it could not be a primary key with `libsql`: TypeORM takes all rows
    // for the same row if their primary keys are ArrayBuffers.
    uuid: { type: 'varchar', length: '36' },
    digest: { type: 'blob', transformer: blobAsBuffer },
    sealed: { type: 'blob', transformer: blobAsBuffer },
  },

  hasUniqueConstraints: true,

  columnTypesDecodedDifferently: ['jsonb'],

  anyOf: anyOfPlaces,

  hashedAnyOf: anyOfPlaces,

  locks: null,

  bulkUpdate: null,

  // In a comparison with a column of numbers, SQLite converts a text that is a number.
  castText: (text, { type, transformer }) => (!transformer && COMPARABLE.includes(type) ? text : null),

  leftJoin: joinOn,

  indexOrder: orderBehindFixed,
};
