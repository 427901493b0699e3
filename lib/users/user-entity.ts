import type { Type } from '@nestjs/common';
import type { DataSource, EntityMetadata } from 'typeorm';
import type { Row } from '../database/database.js';
import { ExpiringTokenOptionsError } from '../errors/expiring-token-options.error.js';
import { formatValue } from '../options/option-checks.js';

/** The names of the entity's properties that `typeOrmUsers` reads. */
export interface UserProperties<User> {
  /** Primary key, or another unique property that never changes. */
  id: keyof User & string;
  /** Unique user name. */
  username: keyof User & string;
  /** Argon2id PHC string, or null for a user without a password. It may have `select: false`. */
  password: keyof User & string;
  /** A boolean: whether the user may log in and use tokens. If it is left out, every user may. */
  active?: keyof User & string;
}

/** Whether the table may contain rows that TypeORM does not load: soft-deleted ones, or those of another class. */
export const hasHiddenRows = ({ deleteDateColumn, inheritancePattern }: EntityMetadata): boolean =>
  deleteDateColumn !== undefined || inheritancePattern !== undefined;

/** Whether a row is softly deleted, so that TypeORM does not load it. */
export const isSoftDeleted = ({ deleteDateColumn }: EntityMetadata, row: Row): boolean =>
  deleteDateColumn !== undefined && row[deleteDateColumn.databaseName] !== null;

/** Whether a row is of the class of an entity, and not of another class in the same table. */
export function isOfEntity(metadata: EntityMetadata, row: Row): boolean {
  const { discriminatorColumn, parentEntityMetadata, childEntityMetadatas } = metadata;
  // TypeORM loads every row as the class at the root of the inheritance.
  if (!discriminatorColumn || !parentEntityMetadata) return true;
  const classes = [metadata, ...childEntityMetadatas].map(({ discriminatorValue }) => discriminatorValue);
  return classes.includes(row[discriminatorColumn.databaseName] as string);
}

/**
 * Whether an entity consists of the columns of its row alone, so that a statement of this package can load it. Relations,
 * listeners, virtual columns and hidden rows need TypeORM's own loading.
 *
 * @param typesDecodedDifferently - column types, other than spatial ones, whose values TypeORM decodes in another form
 */
export function isLoadedFromRow(
  { driver }: DataSource,
  metadata: EntityMetadata,
  typesDecodedDifferently: readonly string[],
): boolean {
  const { eagerRelations, lazyRelations, relationIds, afterLoadListeners } = metadata;
  const excludedTypes = [...driver.spatialTypes, ...typesDecodedDifferently];
  return (
    [eagerRelations, lazyRelations, relationIds, afterLoadListeners].every((list) => list.length === 0) &&
    metadata.columns.every(
      (column) => !column.isVirtualProperty && !excludedTypes.includes(driver.normalizeType(column)),
    ) &&
    metadata.expression === undefined &&
    !hasHiddenRows(metadata)
  );
}

/** The second parameter of `forFeature()` for a data source with a name; TypeORM 1 has it among the options only. */
function nameParameter({ options }: DataSource): string {
  const { name = 'default' } = options as { name?: string };
  return name === 'default' ? '' : `, '${name}'`;
}

/**
 * Checks, at start-up, that users can be read from an entity.
 *
 * @throws ExpiringTokenOptionsError if the entity is not registered, lacks a column, or does not select one
 */
export function checkUserEntity<User>(
  dataSource: DataSource,
  entity: Type<User>,
  properties: UserProperties<User>,
): void {
  if (!dataSource.hasMetadata(entity)) {
    throw new ExpiringTokenOptionsError(
      'users',
      `${entity.name} is not an entity of the data source`,
      `Add ${entity.name} to its entities, or set autoLoadEntities and import TypeOrmModule.forFeature([${entity.name}]${nameParameter(dataSource)}).`,
    );
  }
  const { id, username, password, active } = properties;
  for (const [role, property] of Object.entries({ id, username, password, active })) {
    if (role === 'active' && property === undefined) continue;
    const column = property && dataSource.getMetadata(entity).findColumnWithPropertyName(property);
    if (!column) {
      throw new ExpiringTokenOptionsError(
        'users',
        `${entity.name} has no column ${formatValue(property)} for ${role}`,
        'Give typeOrmUsers the names of properties of the entity.',
      );
    }
    if (!column.isSelect && role !== 'password') {
      throw new ExpiringTokenOptionsError(
        'users',
        `${entity.name}.${property} has select: false`,
        'Remove it: only the password may have select: false.',
      );
    }
  }
}
