import type { Dialect } from './dialect.js';

type Cast = (text: string) => string;

/** NULL for a text that is no UUID: an error would fail the look-ups of all requests in the statement. */
const castUuid: Cast = (text) =>
  `CASE WHEN ${text} ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN ${text}::uuid END`;

/** Some numbers of 19 digits are too large for a bigint. They become the largest bigint, which differs from the text. */
const castInteger: Cast = (text) =>
  `CASE WHEN ${text} ~ '^-{0,1}[0-9]{1,19}$'` +
  ` THEN LEAST(GREATEST(${text}::numeric, -9223372036854775808), 9223372036854775807)::bigint END`;

const unchanged: Cast = (text) => text;

/** By the type of the column. */
const CASTS: Partial<Record<string, Cast>> = {
  uuid: castUuid,
  smallint: castInteger,
  integer: castInteger,
  bigint: castInteger,
  'character varying': unchanged,
  text: unchanged,
};

/** SQL for PostgreSQL. */
export const postgresDialect: Dialect = {
  columnTypes: { digest: { type: 'bytea' }, sealed: { type: 'bytea' } },

  hasUniqueConstraints: true,

  columnTypesDecodedDifferently: [],

  // If PostgreSQL sees a list, it makes a new plan for each length. The subquery hides the length from the planner. The driver
  // would escape each value of a list, but a UUID needs no escaping.
  anyOf: (column, values) => ({
    sql: `${column} = ANY(ARRAY(SELECT unnest(?::uuid[])))`,
    values: [`{${values.join(',')}}`],
  }),

  // PostgreSQL would compare each row with each value of an array, or with each row of a subquery that it joins. `IS TRUE`
  // keeps it from joining, so it makes a hash table of the subquery.
  hashedAnyOf: (column, values) => ({
    sql: `(${column} IN (SELECT unnest(?::uuid[]))) IS TRUE`,
    values: [values],
  }),

  locks: {
    // Unlogged: a transaction that changes nothing else need not wait for the disk. After a crash or a promotion the table is empty.
    // Half of each page stays free, so that a changed row stays on its page.
    create: (table) =>
      `CREATE UNLOGGED TABLE IF NOT EXISTS ${table} (id integer PRIMARY KEY, counter bigint NOT NULL) WITH (fillfactor = 50)`,
    take: (table, row) =>
      `INSERT INTO ${table} AS lock (id, counter) VALUES (${row}, 0)` +
      ' ON CONFLICT (id) DO UPDATE SET counter = lock.counter + 1',
  },

  bulkUpdate: {
    updateEach: ({ table, id, column, rows, condition }) => ({
      sql:
        `UPDATE ${table} SET ${column} = u.value FROM unnest(?::uuid[], ?::bigint[]) AS u(id, value)` +
        ` WHERE ${table}.${id} = u.id AND ${condition('u.value')}`,
      values: [rows.map(([key]) => key), rows.map(([, value]) => value)],
    }),
    // Foreign keys of the application's tables do not wait for this lock.
    lockUnlocked: 'FOR NO KEY UPDATE SKIP LOCKED',
  },

  castText: (text, { type, transformer, collation }) =>
    transformer || collation ? null : (CASTS[type]?.(text) ?? null),

  // For a usual join PostgreSQL, which overestimates the number of tokens, would read a whole table of a few thousand users.
  leftJoin({ alias, table, columns, names }, condition) {
    const subquery = `SELECT ${columns} FROM ${table} WHERE ${condition} LIMIT 1`;
    return { columns: names, clause: `LEFT JOIN LATERAL (${subquery}) ${alias} ON true` };
  },

  // PostgreSQL does not conclude from `IS NULL` that a column has one value, and would sort by the columns behind it.
  indexOrder: (fixed, columns) => [...fixed, ...columns].join(', '),
};
