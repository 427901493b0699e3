import type { DataSource, EntityMetadata } from 'typeorm';
import type { ColumnKind } from './dialect.js';
import { dialectOf } from './open-database.js';

/**
 * Gives columns of an entity the types that their database has for them.
 *
 * A decorator names one type, before the database is known. TypeORM calls `BaseEntity.useDataSource` when it has built the
 * metadata, and before it creates the tables or generates a migration.
 *
 * @param kinds - the content of each column, by property
 */
export function resolveColumnTypes(
  dataSource: DataSource,
  entity: EntityMetadata['target'],
  kinds: Readonly<Record<string, ColumnKind>>,
): void {
  const types = dialectOf(dataSource)?.columnTypes;
  for (const [property, kind] of Object.entries(kinds)) {
    const column = dataSource.getMetadata(entity).findColumnWithPropertyName(property);
    // Foreign keys of the application copied the type of the column when the metadata was built.
    const foreignKeys = dataSource.entityMetadatas
      .flatMap(({ columns }) => columns)
      .filter(({ referencedColumn }) => column && referencedColumn === column);
    for (const resolved of [column, ...foreignKeys]) if (resolved) Object.assign(resolved, types?.[kind]);
  }
}
