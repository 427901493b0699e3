import type { DataSource } from 'typeorm';
import type { Database } from './database.js';
import { MysqlDatabase } from './mysql.database.js';
import { PostgresDatabase } from './postgres.database.js';
import { SqliteDatabase } from './sqlite.database.js';

/** The kinds of database that the package knows, as TypeORM names them. */
const DATABASES: Record<string, new (dataSource: DataSource) => Database> = {
  postgres: PostgresDatabase,
  mysql: MysqlDatabase,
  mariadb: MysqlDatabase,
  'better-sqlite3': SqliteDatabase,
};

/** The names of {@link DATABASES}, for an error to list. */
export const SUPPORTED_DATABASES: readonly string[] = Object.keys(DATABASES);

/** The way to a data source's driver. The type of the data source is one of {@link SUPPORTED_DATABASES}. */
export const openDatabase = (dataSource: DataSource): Database => new DATABASES[dataSource.options.type]!(dataSource);
