import { type QueryRunner, Table, type TableColumnOptions } from 'typeorm';

/** The kinds of database that a migration tells apart. */
export type Dialect = 'sqlite' | 'postgres' | 'mysql';

/** By TypeORM's name of the type of a data source. */
const DIALECTS: Record<string, Dialect> = {
  'better-sqlite3': 'sqlite',
  postgres: 'postgres',
  mysql: 'mysql',
  mariadb: 'mysql',
};

/** A table as the decorators of its entity say it, in names of properties. */
interface TableDefinition {
  /** Name of the entity's class. */
  entity: string;
  /** What `@Entity` names the table. */
  name: string;
  withoutRowid?: boolean;
  /** By property, with the name that `@Column` gives each. */
  columns(dialect: Dialect): Record<string, TableColumnOptions>;
  indices?: readonly (readonly string[])[];
  uniques?: readonly (readonly string[])[];
}

/**
 * The table that a definition describes, in the names that the entity has in this data source: its naming strategy and
 * `entityPrefix` may change each of them.
 */
export function authTable(queryRunner: QueryRunner, definition: TableDefinition): Table {
  // TypeORM 0.3 has no `dataSource` here.
  const { dataSource = queryRunner.connection } = queryRunner;
  const { namingStrategy, options } = dataSource;
  const dialect = DIALECTS[options.type];
  if (!dialect) {
    const known = Object.keys(DIALECTS).join(', ');
    throw new Error(
      `The migrations of nestjs-expiring-token are for data sources of type ${known}, not ${options.type}`,
    );
  }
  const { entity, withoutRowid, indices = [], uniques = [] } = definition;
  const given = namingStrategy.tableName(entity, definition.name);
  const name = options.entityPrefix ? namingStrategy.prefixTableName(options.entityPrefix, given) : given;
  const columns = Object.entries(definition.columns(dialect)).map(([property, column]) => ({
    property,
    ...column,
    name: namingStrategy.columnName(property, column.name, []),
  }));
  const named = (properties: readonly string[], nameOf: 'indexName' | 'uniqueConstraintName', isUnique: boolean) => {
    const columnNames = properties.map((property) => columns.find((column) => column.property === property)!.name);
    return { name: namingStrategy[nameOf](name, columnNames), columnNames, isUnique };
  };
  // MySQL has no unique constraints: TypeORM makes indexes of them, and names them as such.
  const isMysql = dialect === 'mysql';
  return new Table({
    name,
    withoutRowid,
    columns,
    indices: [
      ...indices.map((properties) => named(properties, 'indexName', false)),
      ...(isMysql ? uniques.map((properties) => named(properties, 'indexName', true)) : []),
    ],
    uniques: isMysql ? [] : uniques.map((properties) => named(properties, 'uniqueConstraintName', true)),
  });
}
