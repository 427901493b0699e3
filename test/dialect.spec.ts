import { describe, expect, it } from 'vitest';
import type { ComparedColumn, Dialect, SqlValue } from '../lib/database/dialect.js';
import { mysqlDialect } from '../lib/database/mysql.dialect.js';
import { postgresDialect } from '../lib/database/postgres.dialect.js';
import { sqliteDialect } from '../lib/database/sqlite.dialect.js';

const DIALECTS = { postgres: postgresDialect, mysql: mysqlDialect, sqlite: sqliteDialect };
type DialectName = keyof typeof DIALECTS;

const users = { alias: 'u', table: '"user" u', columns: 'u."id" AS u0', names: 'u.u0' };
const transformer = { to: (value: unknown) => value, from: (value: unknown) => value };
const latin = { charset: 'latin1', collation: 'latin1_bin' };

/** A list in the text format of PostgreSQL holds several values. */
const membersOf = (value: SqlValue) =>
  typeof value === 'string' && value.startsWith('{') ? value.slice(1, -1).split(',') : [value];

describe('Every SQL dialect', () => {
  it.each(Object.entries(DIALECTS))('of %s writes as many placeholders as values for a list', (_name, dialect) => {
    for (const count of [1, 2, 3, 5, 200]) {
      const values = Array.from({ length: count }, (_, index) => `id ${index}`);
      for (const condition of [dialect.anyOf('t.id', values), dialect.hashedAnyOf('t.id', values)]) {
        expect(condition.sql.split('?').length - 1, `of ${count}`).toBe(condition.values.length);
        expect(new Set(condition.values.flat().flatMap(membersOf)), `of ${count}`).toEqual(new Set(values));
      }
    }
  });

  it.each(Object.entries(DIALECTS))('of %s has few statement texts for lists of any length', (_name, dialect) => {
    const lists = Array.from({ length: 256 }, (_, last) => Array.from({ length: last + 1 }, () => 'id'));
    expect(new Set(lists.map((values) => dialect.anyOf('t.id', values).sql)).size).toBeLessThanOrEqual(9);
  });

  it.each(Object.entries(DIALECTS))('of %s compares no column that has a transformer', (_name, dialect) => {
    for (const type of ['varchar', 'character varying', 'bigint', 'uuid']) {
      expect(dialect.castText('t.user_id', { type, transformer, ...latin }), type).toBeNull();
    }
  });

  it.each(Object.entries(DIALECTS))('of %s compares no column of a type it does not know', (_name, dialect) => {
    for (const type of ['json', 'blob', 'double', 'timestamp']) {
      expect(dialect.castText('t.user_id', { type, ...latin }), type).toBeNull();
    }
  });
});

describe('A list of values is', () => {
  it('one parameter on PostgreSQL', () => {
    expect(postgresDialect.anyOf('t.id', ['a', 'b', 'c'])).toEqual({
      sql: 't.id = ANY(ARRAY(SELECT unnest(?::uuid[])))',
      values: ['{a,b,c}'],
    });
  });

  it.each<DialectName>(['mysql', 'sqlite'])('padded to a power of two on %s, with its first value', (name) => {
    expect(DIALECTS[name].anyOf('t.id', ['a', 'b', 'c'])).toEqual({
      sql: 't.id IN (?, ?, ?, ?)',
      values: ['a', 'b', 'c', 'a'],
    });
    expect(DIALECTS[name].anyOf('t.id', ['a'])).toEqual({ sql: 't.id IN (?)', values: ['a'] });
  });
});

describe('A text is compared with a column', () => {
  const uuid = `CASE WHEN x ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN x::uuid END`;
  const integer =
    `CASE WHEN x ~ '^-{0,1}[0-9]{1,19}$'` +
    ` THEN LEAST(GREATEST(x::numeric, -9223372036854775808), 9223372036854775807)::bigint END`;

  it.each<[DialectName, ComparedColumn, string | null]>([
    ['postgres', { type: 'uuid' }, uuid],
    ['postgres', { type: 'smallint' }, integer],
    ['postgres', { type: 'integer' }, integer],
    ['postgres', { type: 'bigint' }, integer],
    ['postgres', { type: 'character varying' }, 'x'],
    ['postgres', { type: 'text' }, 'x'],
    ['postgres', { type: 'text', collation: 'de_DE' }, null],
    ['mysql', { type: 'int' }, 'CAST(x AS SIGNED)'],
    ['mysql', { type: 'bigint', unsigned: true }, 'CAST(x AS UNSIGNED)'],
    ['mysql', { type: 'varchar', ...latin }, 'CONVERT(x USING latin1) COLLATE latin1_bin'],
    ['mysql', { type: 'varchar', charset: 'latin1' }, null],
    ['mysql', { type: 'varchar', collation: 'latin1_bin' }, null],
    ['mysql', { type: 'uuid' }, null],
    ['sqlite', { type: 'integer' }, 'x'],
    ['sqlite', { type: 'varchar' }, 'x'],
  ])('on %s of the type %j', (name, column, sql) => {
    expect(DIALECTS[name].castText('x', column)).toBe(sql);
  });
});

describe('A join', () => {
  it('is a subquery of one row on PostgreSQL, and names the columns of the subquery', () => {
    expect(postgresDialect.leftJoin(users, 'u."id" = t."user_id"')).toEqual({
      columns: 'u.u0',
      clause: 'LEFT JOIN LATERAL (SELECT u."id" AS u0 FROM "user" u WHERE u."id" = t."user_id" LIMIT 1) u ON true',
    });
  });

  it.each<DialectName>(['mysql', 'sqlite'])('is a usual one on %s', (name) => {
    expect(DIALECTS[name].leftJoin(users, 'u."id" = t."user_id"')).toEqual({
      columns: 'u."id" AS u0',
      clause: 'LEFT JOIN "user" u ON u."id" = t."user_id"',
    });
  });
});

it.each<[DialectName, string]>([
  ['postgres', 'purpose, lifespan, created, id'],
  ['mysql', 'created, id'],
  ['sqlite', 'created, id'],
])('The order of an index on %s is that of %s', (name, order) => {
  expect(DIALECTS[name].indexOrder(['purpose', 'lifespan'], ['created', 'id'])).toBe(order);
});

describe('A column type', () => {
  const kindsOf = (dialect: Dialect) =>
    Object.entries(dialect.columnTypes).map(([kind, { type, length }]) =>
      `${kind}: ${String(type)} ${length ?? ''}`.trim(),
    );

  // The migrations create columns of these types. After a release, do not change a type: add another kind of column, and a
  // migration that changes the columns.
  it.each<[DialectName, string[]]>([
    ['postgres', ['digest: bytea', 'sealed: bytea']],
    ['mysql', ['uuid: binary 16', 'key: varchar 36', 'digest: binary 32', 'sealed: varbinary 255', 'text: undefined']],
    ['sqlite', ['uuid: varchar 36', 'digest: blob', 'sealed: blob']],
  ])('is what the migrations made on %s', (name, types) => {
    expect(kindsOf(DIALECTS[name])).toEqual(types);
  });

  it('of a UUID on MySQL holds its 16 bytes', () => {
    const { to, from } = mysqlDialect.columnTypes.uuid!.transformer as typeof transformer;
    const id = '0190163d-8694-739b-aea5-966c26f8ad91';
    expect(to(id)).toEqual(Buffer.from(id.replaceAll('-', ''), 'hex'));
    expect(from(to(id))).toBe(id);
    expect(from(null)).toBeNull();
  });
});
