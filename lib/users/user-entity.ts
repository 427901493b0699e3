import type { DataSource, EntityMetadata } from 'typeorm';
import type { Row } from '../database/database.js';

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
    metadata.deleteDateColumn === undefined &&
    metadata.inheritancePattern === undefined
  );
}
