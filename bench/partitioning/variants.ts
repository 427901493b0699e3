import { Token, User } from 'nestjs-expiring-token';
import { DataSource } from 'typeorm';
import { type Filling, fillingStatements } from '../scale/fill.js';

/** A way to store `auth_token`. */
export interface Variant {
  title: string;
  /** The clause `PARTITION BY`; null for an ordinary table. */
  partitionBy: string | null;
  /** The clauses `FOR VALUES` of the partitions. */
  partitions: (filling: Filling, count: number) => string[];
  /** The columns of the primary key, which must contain those of the partition key. */
  primaryKey: string;
}

const hashes = (_filling: Filling, count: number) =>
  Array.from({ length: count }, (_, remainder) => `WITH (MODULUS ${count}, REMAINDER ${remainder})`);

/** The smallest UUIDv7 of a millisecond. */
const firstIdAt = (ms: number): string => {
  const hex = ms.toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
};

/** Ranges of ids that are ranges of creation times, because the package makes ids of version 7. */
function slices({ from, until }: Filling, count: number): string[] {
  const boundOf = (index: number): string => {
    if (index === 0) return 'MINVALUE';
    if (index === count) return 'MAXVALUE';
    return `'${firstIdAt(Math.round(from + ((until - from) * index) / count))}'`;
  };
  return Array.from({ length: count }, (_, index) => `FROM (${boundOf(index)}) TO (${boundOf(index + 1)})`);
}

export const VARIANTS = {
  plain: { title: 'not partitioned', partitionBy: null, partitions: () => [], primaryKey: 'id' },
  'hash-id': { title: 'hash of `id`', partitionBy: 'HASH (id)', partitions: hashes, primaryKey: 'id' },
  'range-id': { title: 'range of `id` (time)', partitionBy: 'RANGE (id)', partitions: slices, primaryKey: 'id' },
  'hash-user': {
    title: 'hash of `user_id`',
    partitionBy: 'HASH (user_id)',
    partitions: hashes,
    primaryKey: 'id, user_id',
  },
} satisfies Record<string, Variant>;

export type VariantName = keyof typeof VARIANTS;

/** The name of the schema that holds the tables of a variant. */
const schemaOf = (name: VariantName): string => name.replace('-', '_');

/** The URL of a database in which unqualified names are those of a schema. */
const inSchema = (url: string, schema: string): string =>
  `${url}?options=${encodeURIComponent(`-c search_path=${schema}`)}`;

/** Runs some work with TypeORM's data source over the tables of the package. */
async function withDataSource<T>(
  url: string,
  synchronize: boolean,
  work: (source: DataSource) => Promise<T>,
): Promise<T> {
  const entities = [Token, User];
  const source = await new DataSource({ type: 'postgres', url, entities, synchronize }).initialize();
  try {
    return await work(source);
  } finally {
    await source.destroy();
  }
}

const SOURCE = 'filled';

/** Creates the tables of the package in a schema of their own, and fills them. The rows of all variants are copied from here. */
export async function createSource(url: string, filling: Filling): Promise<void> {
  await withDataSource(url, false, (source) => source.query(`CREATE SCHEMA ${SOURCE}`));
  await withDataSource(inSchema(url, SOURCE), true, async (source) => {
    for (const { name } of source.getMetadata(Token).indices) await source.query(`DROP INDEX "${name}"`);
    await source.query(`ALTER TABLE auth_token DROP CONSTRAINT "${primaryKeyName(source)}"`);
    for (const statement of fillingStatements('postgres', filling)) await source.query(statement);
  });
}

const primaryKeyName = (source: DataSource): string =>
  source.namingStrategy.primaryKeyName(
    'auth_token',
    source.getMetadata(Token).primaryColumns.map(({ databaseName }) => databaseName),
  );

/**
 * Creates the tables of the package in a schema of their own, with `auth_token` as a variant says. The indexes are built last.
 *
 * @returns a URL for the schema
 */
export async function createVariant(name: VariantName, url: string, filling: Filling, count: number): Promise<string> {
  const { partitionBy, partitions, primaryKey }: Variant = VARIANTS[name];
  const schema = schemaOf(name);
  await withDataSource(url, false, (source) => source.query(`CREATE SCHEMA ${schema}`));
  const schemaUrl = inSchema(url, schema);
  await withDataSource(schemaUrl, true, async (source) => {
    const statements = [
      'DROP TABLE auth_token',
      `CREATE TABLE auth_token (LIKE ${SOURCE}.auth_token INCLUDING DEFAULTS)${partitionBy ? ` PARTITION BY ${partitionBy}` : ''}`,
      ...partitions(filling, count).map(
        (values, index) => `CREATE TABLE auth_token_p${index} PARTITION OF auth_token FOR VALUES ${values}`,
      ),
      `INSERT INTO auth_user SELECT * FROM ${SOURCE}.auth_user`,
      `INSERT INTO auth_token SELECT * FROM ${SOURCE}.auth_token`,
      `ALTER TABLE auth_token ADD CONSTRAINT "${primaryKeyName(source)}" PRIMARY KEY (${primaryKey})`,
      ...source
        .getMetadata(Token)
        .indices.map(
          (index) =>
            `CREATE INDEX "${index.name}" ON auth_token (${index.columns.map(({ databaseName }) => databaseName).join(', ')})`,
        ),
      'VACUUM ANALYZE auth_token, auth_user',
    ];
    for (const statement of statements) await source.query(statement);
  });
  return schemaUrl;
}
