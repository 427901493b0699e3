import { type Type } from '@nestjs/common';
import { type DataSource, type EntityManager, type EntityMetadata, getMetadataArgsStorage, type Table } from 'typeorm';
import { withTimeout } from './async/with-timeout.js';
import type { Database } from './database/database.js';
import { LockTableError } from './database/lock-table.js';
import { SUPPORTED_DATABASES } from './database/open-database.js';
import { describeError } from './errors/describe-error.js';
import { PackageLogger } from './errors/package.logger.js';
import { ExpiringTokenOptionsError, LIST_COPIES } from './errors/expiring-token-options.error.js';
import type { ResolvedModuleOptions } from './expiring-token.module-options.js';
import { Token } from './tokens/token.entity.js';
import { User } from './users/user.entity.js';

/** The structural options that decide which tables the module uses. */
type EntityOptions = Pick<ResolvedModuleOptions, 'tokenEntity' | 'userEntity' | 'users'>;

/**
 * Checks the data source that the option `dataSource` names, and returns it.
 *
 * @throws ExpiringTokenOptionsError if the application has no data source of this name, or if its database is not supported
 */
export function checkDataSource(dataSource: DataSource | undefined, name: string): DataSource {
  if (!dataSource) {
    throw new ExpiringTokenOptionsError(
      'dataSource',
      `there is no TypeORM data source ${JSON.stringify(name)}`,
      `Import TypeOrmModule.forRoot()${name === 'default' ? '' : ' with this name'}, or set dataSource to the name of an existing data source.`,
    );
  }
  if (!SUPPORTED_DATABASES.includes(dataSource.options.type)) {
    throw new ExpiringTokenOptionsError(
      'dataSource',
      `${JSON.stringify(name)} is of type ${dataSource.options.type}`,
      `Give the name of a data source of type ${SUPPORTED_DATABASES.join(', ')}.`,
    );
  }
  if (!dataSource.isInitialized) {
    throw new ExpiringTokenOptionsError(
      'dataSource',
      `${JSON.stringify(name)} is not initialized, so its entities are not known`,
      'Remove manualInitialization from TypeOrmModule.forRoot(), or initialize the data source in its dataSourceFactory.',
    );
  }
  return dataSource;
}

/** Returns the entities whose tables the module reads and writes, by the option that chooses them. */
export const entitiesOf = ({ tokenEntity, userEntity, users }: EntityOptions): Record<string, Type> => ({
  tokenEntity,
  ...(users ? {} : { userEntity }),
});

/**
 * Checks that the module can use its entities with a data source, and returns the data source.
 *
 * @throws ExpiringTokenOptionsError if an entity is not registered, or if the token entity has columns that the module cannot
 * work with
 */
export function checkEntities(dataSource: DataSource, options: EntityOptions): DataSource {
  for (const [option, entity] of Object.entries(entitiesOf(options))) {
    if (!dataSource.hasMetadata(entity)) {
      const hasNamesake = dataSource.entityMetadatas.some(({ name }) => name === entity.name);
      throw new ExpiringTokenOptionsError(
        option,
        `${entity.name} is not an entity of the data source${hasNamesake ? ', which has another class with this name' : ''}`,
        hasNamesake
          ? `Add the class ${entity.name} that this package uses to its entities. ${LIST_COPIES}`
          : `Set autoLoadEntities: true in TypeOrmModule.forRoot(), or add ${entity.name} to its entities.`,
      );
    }
  }
  const { tokenEntity, userEntity, users } = options;
  checkTokenColumns(dataSource.getMetadata(tokenEntity));
  if (!users) checkAddedColumns('userEntity', dataSource.getMetadata(userEntity), User, 'UserService.create');
  return dataSource;
}

function checkTokenColumns(metadata: EntityMetadata): void {
  const { name, deleteDateColumn } = metadata;
  if (deleteDateColumn) {
    throw new ExpiringTokenOptionsError(
      'tokenEntity',
      `${name}.${deleteDateColumn.propertyName} is a @DeleteDateColumn(), so deleted tokens would stay in the table`,
      'Remove the column: the module deletes rows for good.',
    );
  }
  checkAddedColumns('tokenEntity', metadata, Token, 'a login');
}

/** Checks the columns that a subclass adds: this package inserts rows without values for them. */
function checkAddedColumns(option: string, { name, columns }: EntityMetadata, base: Type, inserter: string): void {
  const columnsOfBase = new Set(
    getMetadataArgsStorage()
      .filterColumns(base)
      .map(({ propertyName }) => propertyName),
  );
  for (const column of columns) {
    const hasValue = column.isNullable || column.isGenerated || column.default !== undefined;
    if (!hasValue && !columnsOfBase.has(column.propertyName)) {
      throw new ExpiringTokenOptionsError(
        option,
        `${name}.${column.propertyName} is neither nullable nor has a default, so ${inserter} could not insert a row`,
        'Add nullable: true or a default to its @Column().',
      );
    }
  }
}

/** Longest wait for the description of a table, in milliseconds. The catalog of a server can be large. */
const MAX_INTROSPECTION_MS = 10_000;

const CREATE_TABLES = 'Run the migrations, or set synchronize: true in TypeOrmModule.forRoot() during development.';

const logger = new PackageLogger();

/**
 * Checks that the tables can be used. For those of the entities, see {@link checkColumns}; the table of locks is created if it does
 * not exist.
 *
 * An unreachable database is only logged.
 *
 * @throws ExpiringTokenOptionsError if a table cannot be used, or if the table of locks cannot be created
 */
export async function checkTables(dataSource: DataSource, database: Database, options: EntityOptions): Promise<void> {
  if (!dataSource.isInitialized || !(await checkColumns(dataSource, database, options))) return;
  try {
    await withTimeout(MAX_INTROSPECTION_MS, (signal) => database.prepareLocks(signal));
  } catch (error) {
    if (error instanceof LockTableError) throw new ExpiringTokenOptionsError('dataSource', error.problem, error.remedy);
    logger.warn(`The table of locks could not be checked: ${describeError(error)}`);
  }
}

/**
 * Checks that the tables match the entities. Otherwise a column of another type would not cause an error: its values would be
 * read incorrectly, and valid tokens rejected.
 *
 * A missing table and an unreachable database are only logged, because the running application may create the table. Requests
 * are answered 503 until then.
 *
 * @returns whether all tables exist
 * @throws ExpiringTokenOptionsError for a column that is missing, or of another type or length, and for a driver that does not
 * work as `pg` or `mysql2` does
 */
async function checkColumns(dataSource: DataSource, database: Database, options: EntityOptions): Promise<boolean> {
  let isComplete = true;
  const tables: [option: string, metadata: EntityMetadata, table: Table | undefined][] = [];
  try {
    await withTimeout(MAX_INTROSPECTION_MS, (signal) => checkDriver(dataSource, database, signal));
    for (const [option, entity] of Object.entries(entitiesOf(options))) {
      const metadata = dataSource.getMetadata(entity);
      const readTable = ({ queryRunner = dataSource.createQueryRunner() }: EntityManager) =>
        queryRunner.getTable(metadata.tablePath);
      const table = await withTimeout(MAX_INTROSPECTION_MS, (signal) => database.readEntities(readTable, signal));
      tables.push([option, metadata, table]);
    }
  } catch (error) {
    if (error instanceof ExpiringTokenOptionsError) throw error;
    logger.warn(`The columns of the tables could not be checked: ${describeError(error)}`);
    isComplete = false;
  }
  for (const [option, metadata, table] of tables) {
    if (!table) {
      logger.error(
        `Table ${metadata.tablePath} does not exist. Requests are answered 503 until it does. ${CREATE_TABLES}`,
      );
      isComplete = false;
      continue;
    }
    const difference = findDifference(dataSource, metadata, table);
    if (difference) {
      throw new ExpiringTokenOptionsError(option, `table ${metadata.tablePath} ${difference}`, CREATE_TABLES);
    }
  }
  return isComplete;
}

/**
 * Checks that a replacement of `pg` or `mysql2` can do what this package needs: a session for each connection, because the
 * statements of two transactions must not mix, and statements with a name and values.
 */
async function checkDriver({ driver, options }: DataSource, database: Database, signal: AbortSignal): Promise<void> {
  const { master, pool } = driver as { master?: unknown; pool?: unknown };
  if (!master && !pool) return;
  const name = options.type === 'postgres' ? 'pg' : 'mysql2';
  const unsuitable = (reason: string) =>
    new ExpiringTokenOptionsError(
      'dataSource',
      `its driver does not work as ${name} does: ${reason}`,
      `Use ${name} with a server. For tests without a server, import ExpiringTokenTestingModule, which uses SQLite.`,
    );
  try {
    await database.readEntities(async ({ queryRunner }) => {
      const connection: unknown = await queryRunner?.connect();
      if (connection === master || connection === pool) throw unsuitable('all connections are one session');
    }, signal);
    await database.read({ sql: 'SELECT ? AS answer', values: ['1'] }, signal);
  } catch (error) {
    // An error of a server or of the network has another class, or a cause as that of `fetch`, which may read the password.
    throw error instanceof TypeError && error.cause === undefined ? unsuitable(describeError(error)) : error;
  }
}

/** Text types are interchangeable here. A shorter binary type is not: it would truncate digests. */
const isText = (type: string) => /char|text/.test(type);

/** Returns the first difference between a table and its entity, as the end of a sentence. */
function findDifference(dataSource: DataSource, metadata: EntityMetadata, table: Table): string | undefined {
  for (const column of metadata.columns) {
    const found = table.findColumnByName(column.databaseName);
    if (!found) return `has no column ${column.databaseName}`;
    // TypeORM and the database may have different names for the type of a column that the application added.
    if (column.target !== Token && column.target !== User) continue;
    const expected = dataSource.driver.normalizeType(column);
    if (found.type !== expected && !(isText(found.type) && isText(expected)))
      return `has the column ${column.databaseName} of type ${found.type}, not ${expected}`;
    if (!isText(expected) && Number(found.length) < Number(column.length))
      return `has the column ${column.databaseName} of length ${found.length}, not ${column.length}`;
  }
  return undefined;
}
