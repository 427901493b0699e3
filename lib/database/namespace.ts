import { createHash } from 'node:crypto';
import { realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import type { DataSource, EntityTarget, ObjectLiteral } from 'typeorm';

/**
 * Derives a name that all processes of an application have in common, and no other application, from the database, the schema
 * and the name of a table. The host is left out, because processes may reach one server by different names. Of an SQLite
 * database, the file counts, however its path is written.
 *
 * @param dataSource - is initialized, so that a default database and schema are known
 * @returns a digest, which is safe in the names of keys, channels and locks
 */
export function deriveNamespace(dataSource: DataSource, entity: EntityTarget<ObjectLiteral>): string {
  const { tableName, ...metadata } = dataSource.getMetadata(entity);
  const { driver, options } = dataSource;
  const database =
    options.type === 'better-sqlite3' ? fileOf(options.database) : (metadata.database ?? driver.database);
  const schema = metadata.schema ?? driver.schema;
  return createHash('sha256')
    .update(JSON.stringify([database, schema, tableName]))
    .digest('base64url')
    .slice(0, 22);
}

function fileOf(path: string): string {
  // An in-memory database has no file.
  if (path === '' || path === ':memory:') return ':memory:';
  try {
    return realpathSync(path);
  } catch {
    return resolve(path);
  }
}
