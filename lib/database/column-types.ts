import type { DataSource, EntityMetadata, ValueTransformer } from 'typeorm';
import { bytesFromUuid, uuidFromBytes } from './uuid-v7.js';

/**
 * What a column holds, where each database has a type of its own for it:
 *
 * - `uuid`: the canonical form in code, 128 bits at rest
 * - `key`: the canonical form of a UUID also at rest, for tables of the application to refer to
 * - `digest`: 32 bytes
 * - `sealed`: a few hundred bytes
 * - `text`: compared byte by byte, whatever collation the database prefers
 */
export type ColumnKind = 'uuid' | 'key' | 'digest' | 'sealed' | 'text';

type ColumnMetadata = EntityMetadata['columns'][number];
type ColumnType = Partial<Pick<ColumnMetadata, 'type' | 'length' | 'charset' | 'collation' | 'transformer'>>;

const uuidAsBytes: ValueTransformer = {
  to: (id: unknown) => (typeof id === 'string' ? bytesFromUuid(id) : id),
  from: (bytes: unknown) => (bytes instanceof Uint8Array ? uuidFromBytes(bytes) : bytes),
};

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

const blobAsBuffer: ValueTransformer = {
  to: (bytes: unknown) => bytes,
  from: (bytes: unknown) => (bytes instanceof ArrayBuffer ? Buffer.from(bytes) : bytes),
};

const MYSQL: Record<ColumnKind, ColumnType> = {
  uuid: { type: 'binary', length: '16', transformer: uuidAsBytes },
  // Of the same type whether TypeORM is told mysql or mariadb, which would have a type of its own.
  key: { type: 'varchar', length: '36', charset: 'ascii', collation: 'ascii_bin' },
  digest: { type: 'binary', length: '32' },
  sealed: { type: 'varbinary', length: '255' },
  text: { charset: 'utf8mb4', collation: 'utf8mb4_bin' },
};

const COLUMN_TYPES: Record<string, Partial<Record<ColumnKind, ColumnType>>> = {
  postgres: { digest: { type: 'bytea' }, sealed: { type: 'bytea' } },
  mysql: MYSQL,
  mariadb: MYSQL,
  'better-sqlite3': {
    uuid: { type: 'varchar', length: '22', transformer: uuidAsText },
    digest: { type: 'blob', transformer: blobAsBuffer },
    sealed: { type: 'blob', transformer: blobAsBuffer },
  },
};

/**
 * Gives columns the types of the database that they are about to live in.
 *
 * A TypeORM decorator takes one type, long before anybody knows the database. `BaseEntity.useDataSource` is where TypeORM
 * hands an entity its data source: after the metadata is built, before the schema is made or a migration is generated.
 */
export function resolveColumnTypes(
  dataSource: DataSource,
  entity: EntityMetadata['target'],
  kinds: Readonly<Record<string, ColumnKind>>,
): void {
  const types = COLUMN_TYPES[dataSource.options.type];
  for (const [property, kind] of Object.entries(kinds)) {
    const column = dataSource.getMetadata(entity).findColumnWithPropertyName(property);
    // A foreign key of the application's took its type from the column when the metadata was built.
    const references = dataSource.entityMetadatas
      .flatMap(({ columns }) => columns)
      .filter(({ referencedColumn }) => column && referencedColumn === column);
    for (const settled of [column, ...references]) if (settled) Object.assign(settled, types?.[kind]);
  }
}
