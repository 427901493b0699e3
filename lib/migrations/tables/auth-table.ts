import { type DataSource, type EntityMetadata, type QueryRunner, Table, type TableColumnOptions } from 'typeorm';
import type { ColumnKind, Dialect } from '../../database/dialect.js';
import { dialectOf, SUPPORTED_DATABASES } from '../../database/open-database.js';

type ColumnMetadata = EntityMetadata['columns'][number];

/** One column of a {@link TableDefinition}. */
interface ColumnDefinition extends Pick<TableColumnOptions, 'name' | 'length' | 'isPrimary' | 'isNullable'> {
  /** What the column contains, where the databases have different types for it. */
  kind?: ColumnKind;
  /** The type that the decorator names. A type of the dialect replaces it. */
  type: 'uuid' | 'varchar' | 'bigint' | 'boolean';
  default?: boolean;
}

/** A table as the decorators of its entity describe it, in names of properties. */
interface TableDefinition {
  /** The name of the entity's class. */
  entity: string;
  /** The name that `@Entity` gives the table. */
  name: string;
  withoutRowid?: boolean;
  /** By property, each with the name that `@Column` gives it. */
  columns: Record<string, ColumnDefinition>;
  indices?: readonly (readonly string[])[];
  uniques?: readonly (readonly string[])[];
}

/** The data source of a query runner, which in TypeORM 0.3 has no `dataSource`. */
export const dataSourceOf = (queryRunner: QueryRunner): DataSource =>
  (queryRunner as Partial<QueryRunner>).dataSource ?? queryRunner.connection;

/** The data source of a query runner, and its dialect. */
export function databaseOf(queryRunner: QueryRunner): { dataSource: DataSource; dialect: Dialect } {
  const dataSource = dataSourceOf(queryRunner);
  const dialect = dialectOf(dataSource);
  if (!dialect) {
    const known = SUPPORTED_DATABASES.join(', ');
    throw new Error(
      `The migrations of nestjs-expiring-token are for data sources of type ${known}, not ${dataSource.options.type}`,
    );
  }
  return { dataSource, dialect };
}

/** The name of the table of an entity in a data source. */
export function tableNameOf({ namingStrategy, options }: DataSource, entity: string, name: string): string {
  const unprefixed = namingStrategy.tableName(entity, name);
  return options.entityPrefix ? namingStrategy.prefixTableName(options.entityPrefix, unprefixed) : unprefixed;
}

/**
 * The table that a definition describes. Its names are those that the entity has in this data source, whose naming strategy
 * and `entityPrefix` can change each of them.
 */
export function authTable(queryRunner: QueryRunner, definition: TableDefinition): Table {
  const { dataSource, dialect } = databaseOf(queryRunner);
  const { driver, namingStrategy } = dataSource;
  const columns = Object.entries(definition.columns).map(([property, { kind, default: value, ...column }]) => {
    const { transformer, type = column.type, ...properties } = (kind && dialect.columnTypes[kind]) ?? {};
    return {
      property,
      ...column,
      ...properties,
      type: driver.normalizeType({ type }),
      default: value === undefined ? undefined : driver.normalizeDefault({ default: value } as ColumnMetadata),
      name: namingStrategy.columnName(property, column.name, []),
    };
  });
  const { entity, withoutRowid, indices = [], uniques = [] } = definition;
  const name = tableNameOf(dataSource, entity, definition.name);
  const named = (properties: readonly string[], nameOf: 'indexName' | 'uniqueConstraintName', isUnique: boolean) => {
    const columnNames = properties.map((property) => columns.find((column) => column.property === property)!.name);
    return { name: namingStrategy[nameOf](name, columnNames), columnNames, isUnique };
  };
  const uniqueIndices = uniques.map((properties) => named(properties, 'indexName', true));
  return new Table({
    name,
    withoutRowid,
    columns,
    indices: [
      ...indices.map((properties) => named(properties, 'indexName', false)),
      ...(dialect.hasUniqueConstraints ? [] : uniqueIndices),
    ],
    uniques: dialect.hasUniqueConstraints
      ? uniques.map((properties) => named(properties, 'uniqueConstraintName', true))
      : [],
  });
}
