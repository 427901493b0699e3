import type { DataSource, EntityTarget, ObjectLiteral } from 'typeorm';
import type { Database } from './database.js';
import type { Dialect } from './dialect.js';
import { LockTable } from './lock-table.js';
import { MysqlDatabase } from './mysql.database.js';
import { mysqlDialect } from './mysql.dialect.js';
import { PostgresDatabase } from './postgres.database.js';
import { postgresDialect } from './postgres.dialect.js';
import { SqliteDatabase } from './sqlite.database.js';
import { sqliteDialect } from './sqlite.dialect.js';

/** The two halves of a supported database: how it words SQL, and how its driver runs a statement. */
interface SupportedDatabase {
  readonly dialect: Dialect;
  readonly Connection: new (dataSource: DataSource, dialect: Dialect, locks: LockTable) => Database;
}

const mysql: SupportedDatabase = { dialect: mysqlDialect, Connection: MysqlDatabase };

/** By the `type` of a TypeORM data source. */
const DATABASES: Record<string, SupportedDatabase> = {
  postgres: { dialect: postgresDialect, Connection: PostgresDatabase },
  mysql,
  mariadb: mysql,
  'better-sqlite3': { dialect: sqliteDialect, Connection: SqliteDatabase },
};

/** The types of data sources that the package supports. */
export const SUPPORTED_DATABASES: readonly string[] = Object.keys(DATABASES);

/** The dialect of a data source; undefined if the package does not support its type. */
export const dialectOf = (dataSource: DataSource): Dialect | undefined => DATABASES[dataSource.options.type]?.dialect;

/**
 * Opens the database of a data source, whose type is one of {@link SUPPORTED_DATABASES}.
 *
 * @param tokenEntity - the entity of the table of tokens, beside which the table of locks is
 */
export function openDatabase(dataSource: DataSource, tokenEntity: EntityTarget<ObjectLiteral>): Database {
  const { dialect, Connection } = DATABASES[dataSource.options.type]!;
  return new Connection(dataSource, dialect, new LockTable(dataSource, dataSource.getMetadata(tokenEntity)));
}
