import { Logger, type Type } from '@nestjs/common';
import { type DataSource, type EntityManager, type EntityMetadata, getMetadataArgsStorage, type Table } from 'typeorm';
import type { Database } from './database/database.js';
import { SUPPORTED_DATABASES } from './database/open-database.js';
import { withTimeout } from './async/with-timeout.js';
import { describeError } from './errors/describe-error.js';
import type { ResolvedModuleOptions } from './expiring-token.module-options.js';
import { ExpiringTokenOptionsError } from './errors/expiring-token-options.error.js';
import { Token } from './tokens/token.entity.js';
import { User } from './users/user.entity.js';

/**
 * The data source that the option `dataSource` names.
 *
 * @throws ExpiringTokenOptionsError when the application has none of this name, or one of an unknown kind
 */
export function checkDataSource(found: DataSource | undefined, name: string): DataSource {
  if (!found) {
    throw new ExpiringTokenOptionsError(
      'dataSource',
      `there is no TypeORM data source ${JSON.stringify(name)}`,
      `Import TypeOrmModule.forRoot()${name === 'default' ? '' : ' with this name'}, or give dataSource the name of another one.`,
    );
  }
  if (!SUPPORTED_DATABASES.includes(found.options.type)) {
    throw new ExpiringTokenOptionsError(
      'dataSource',
      `${JSON.stringify(name)} is of type ${found.options.type}`,
      `Give the name of a data source of type ${SUPPORTED_DATABASES.join(', ')}.`,
    );
  }
  return found;
}

/** The entities whose tables the module reads and writes, by the option that chooses them. */
export const entitiesOf = ({ tokenEntity, users }: ResolvedModuleOptions): Record<string, Type> => ({
  tokenEntity,
  ...(users ? {} : { users: User }),
});

/**
 * The data source, once the entities are known to be usable with it.
 *
 * @throws ExpiringTokenOptionsError when one is not registered, or has a column that a login cannot fill
 */
export function checkEntities(dataSource: DataSource, structure: ResolvedModuleOptions): DataSource {
  for (const [option, entity] of Object.entries(entitiesOf(structure))) {
    if (!dataSource.hasMetadata(entity)) {
      throw new ExpiringTokenOptionsError(
        option,
        `${entity.name} is not an entity of the data source`,
        `Set autoLoadEntities: true in TypeOrmModule.forRoot(), or add ${entity.name} to its entities.`,
      );
    }
  }
  const ours = new Set(
    getMetadataArgsStorage()
      .filterColumns(Token)
      .map(({ propertyName }) => propertyName),
  );
  const { tokenEntity } = structure;
  const { columns, deleteDateColumn } = dataSource.getMetadata(tokenEntity);
  if (deleteDateColumn) {
    throw new ExpiringTokenOptionsError(
      'tokenEntity',
      `${tokenEntity.name}.${deleteDateColumn.propertyName} is a @DeleteDateColumn(), by which a token that is deleted would stay`,
      'Remove it: tokens are deleted for good.',
    );
  }
  for (const column of columns) {
    const filled = column.isNullable || column.isGenerated || column.default !== undefined;
    if (!filled && !ours.has(column.propertyName)) {
      throw new ExpiringTokenOptionsError(
        'tokenEntity',
        `${tokenEntity.name}.${column.propertyName} is neither nullable nor has a default`,
        'Add nullable: true or a default to its @Column().',
      );
    }
  }
  return dataSource;
}

/** The longest wait for a look at the tables, in milliseconds: the catalogues of a server may be long. */
const MAX_INTROSPECTION_MS = 10_000;

const MIGRATE = 'Run the migrations, or in development set synchronize: true in TypeOrmModule.forRoot().';

const logger = new Logger('ExpiringToken');

/**
 * Looks whether the tables are those that the entities describe. A column that is of another type would not fail: its values
 * would be read wrong, and good tokens refused.
 *
 * A table that is not there yet, or a database that cannot be asked, is only logged: the application may be what makes it,
 * and requests are answered 503 until then.
 *
 * @throws ExpiringTokenOptionsError naming the column that is missing, or is of another type
 */
export async function checkColumns(
  dataSource: DataSource,
  database: Database,
  structure: ResolvedModuleOptions,
): Promise<void> {
  if (!dataSource.isInitialized) return;
  for (const [option, entity] of Object.entries(entitiesOf(structure))) {
    const metadata = dataSource.getMetadata(entity);
    let table: Table | undefined;
    try {
      const look = ({ queryRunner = dataSource.createQueryRunner() }: EntityManager) =>
        queryRunner.getTable(metadata.tablePath);
      table = await withTimeout(MAX_INTROSPECTION_MS, (signal) => database.readEntities(look, signal));
    } catch (error) {
      logger.warn(`Table ${metadata.tablePath} could not be looked at: ${describeError(error)}`);
      return;
    }
    if (!table) {
      logger.error(`There is no table ${metadata.tablePath}, and requests are answered 503 until there is. ${MIGRATE}`);
      continue;
    }
    const problem = drift(dataSource, metadata, table);
    if (problem) throw new ExpiringTokenOptionsError(option, `table ${metadata.tablePath} ${problem}`, MIGRATE);
  }
}

/** One text type is as good as another; a shorter binary one would cut digests. */
const isText = (type: string) => /char|text/.test(type);

/** What is wrong with a table, if anything is. */
function drift(dataSource: DataSource, metadata: EntityMetadata, table: Table): string | undefined {
  for (const column of metadata.columns) {
    const found = table.findColumnByName(column.databaseName);
    if (!found) return `has no column ${column.databaseName}`;
    // Of what an application added, TypeORM may name the type otherwise than the database does.
    if (column.target !== Token && column.target !== User) continue;
    const expected = dataSource.driver.normalizeType(column);
    if (found.type !== expected && !(isText(found.type) && isText(expected)))
      return `has the column ${column.databaseName} of type ${found.type}, not ${expected}`;
    if (!isText(expected) && Number(found.length) < Number(column.length))
      return `has the column ${column.databaseName} of length ${found.length}, not ${column.length}`;
  }
  return undefined;
}
