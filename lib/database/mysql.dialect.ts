import type { ValueTransformer } from 'typeorm';
import { anyOfPlaces, type Dialect, joinOn, orderBehindFixed } from './dialect.js';
import { bytesFromUuid, uuidFromBytes } from './uuid-v7.js';

const INTEGERS = ['tinyint', 'smallint', 'mediumint', 'int', 'bigint'];

const uuidAsBytes: ValueTransformer = {
  to: (id: unknown) => (typeof id === 'string' ? bytesFromUuid(id) : id),
  from: (bytes: unknown) => (bytes instanceof Uint8Array ? uuidFromBytes(bytes) : bytes),
};

/** SQL for MySQL and MariaDB. */
export const mysqlDialect: Dialect = {
  columnTypes: {
    uuid: { type: 'binary', length: '16', transformer: uuidAsBytes },
    // The same type for data sources of type mysql and mariadb: MariaDB has a type for UUIDs, MySQL has none.
    key: { type: 'varchar', length: '36', charset: 'ascii', collation: 'ascii_bin' },
    digest: { type: 'binary', length: '32' },
    sealed: { type: 'varbinary', length: '255' },
    text: { charset: 'utf8mb4', collation: 'utf8mb4_bin' },
  },

  hasUniqueConstraints: false,

  // The values of a prepared statement have another form than those of TypeORM's statements.
  columnTypesDecodedDifferently: ['float', 'time'],

  anyOf: anyOfPlaces,

  hashedAnyOf: anyOfPlaces,

  locks: {
    create: (table) =>
      `CREATE TABLE IF NOT EXISTS ${table} (id int PRIMARY KEY, counter bigint NOT NULL) ENGINE = InnoDB`,
    take: (table, row) =>
      `INSERT INTO ${table} (id, counter) VALUES (${row}, 0) ON DUPLICATE KEY UPDATE counter = counter + 1`,
  },

  bulkUpdate: {
    // One text for any number of rows. `STRAIGHT_JOIN` reads the list first, and finds each row by its primary key.
    updateEach: ({ table, id, column, rows, condition }) => ({
      sql:
        `UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$[0]', value BIGINT PATH '$[1]')) u` +
        ` STRAIGHT_JOIN ${table} ON ${table}.${id} = UNHEX(u.id) SET ${table}.${column} = u.value WHERE ${condition('u.value')}`,
      values: [JSON.stringify(rows.map(([key, value]) => [(key as Buffer).toString('hex'), value]))],
    }),
    lockUnlocked: 'FOR UPDATE SKIP LOCKED',
  },

  castText(text, { type, transformer, unsigned, charset, collation }) {
    if (transformer) return null;
    if (INTEGERS.includes(type)) return `CAST(${text} AS ${unsigned ? 'UNSIGNED' : 'SIGNED'})`;
    // With another character set or collation than the column has, MySQL could not use an index of the column.
    const isKnown = type === 'varchar' && charset !== undefined && collation !== undefined;
    return isKnown ? `CONVERT(${text} USING ${charset}) COLLATE ${collation}` : null;
  },

  leftJoin: joinOn,

  indexOrder: orderBehindFixed,
};
