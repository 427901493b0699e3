import type { Type } from '@nestjs/common';
import { type DataSource, getMetadataArgsStorage } from 'typeorm';
import { SUPPORTED_DATABASES } from './database/open-database.js';
import { ExpiringTokenOptionsError } from './option-checks.js';
import { Token } from './tokens/token.entity.js';
import { User } from './users/user.entity.js';

/**
 * The data source that the option `dataSource` names.
 *
 * @throws ExpiringTokenOptionsError when the application has none of this name, or one of an unknown kind
 */
export function requireDataSource(found: DataSource | undefined, name: string): DataSource {
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

/**
 * The data source, once the entities are known to be usable with it.
 *
 * @throws ExpiringTokenOptionsError when one is not registered, or has a column that a login cannot fill
 */
export function requireEntities(dataSource: DataSource, tokenEntity: Type<Token>, builtInUsers: boolean): DataSource {
  const entities = { tokenEntity, ...(builtInUsers ? { users: User } : {}) };
  for (const [option, entity] of Object.entries(entities)) {
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
  for (const column of dataSource.getMetadata(tokenEntity).columns) {
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
