import {
  type DataSource,
  type EntityMetadata,
  type EntityTarget,
  getMetadataArgsStorage,
  type ObjectLiteral,
} from 'typeorm';
import type { Row } from './database.js';
import type { AliasedTable, ComparedColumn, SqlValue, Statement } from './dialect.js';

type ColumnMetadata = EntityMetadata['columns'][number];

/** A `@VirtualColumn()` is a subquery of TypeORM, and not a column of the table. */
const isStored = ({ isVirtualProperty }: ColumnMetadata): boolean => !isVirtualProperty;

const isSelected = (column: ColumnMetadata): boolean => column.isSelect && isStored(column);

/** A table in a statement over several tables, and how to read its rows. */
export interface Selection<Entity, Columns> extends AliasedTable {
  /** The qualified name of the column of a property. */
  column(property: keyof Columns & string): string;
  /** Makes an entity of a row, as {@link Table.read} does. */
  read(row: Row): Entity;
  /** Returns a function that reads one column of a row, as {@link Table.readColumn} does. */
  columnReader<Property extends keyof Columns & string>(property: Property): (row: Row) => Columns[Property];
}

/**
 * Words statements over the table of an entity. Names come from the entity's metadata and values pass its transformers, so
 * that an application's subclass, naming strategy and schema are respected.
 *
 * @typeParam Columns - the properties that statements may compare and write
 */
export class Table<Entity extends ObjectLiteral, Columns extends object> {
  readonly metadata: EntityMetadata;
  private readonly name: string;
  private readonly columns: string;
  /** Makes an entity of a selected row, without the columns that have `select: false`. */
  readonly read: (row: Row) => Entity;

  constructor(
    private readonly dataSource: DataSource,
    entity: EntityTarget<Entity>,
  ) {
    this.metadata = dataSource.getMetadata(entity);
    this.name = this.metadata.tablePath.split('.').map(this.quote).join('.');
    this.columns = this.metadata.columns
      .filter(isStored)
      .map((column) => this.quote(column.databaseName))
      .join(', ');
    this.read = this.reader(({ databaseName }) => databaseName, isSelected);
  }

  /** Makes an entity with these properties. */
  create(properties: Partial<Entity>): Entity {
    return Object.assign(this.metadata.create(), properties) as Entity;
  }

  /**
   * The part of this table in a statement that selects from several tables.
   *
   * @param alias - the name of this table in the statement
   * @param isRead - which columns become properties of the entity
   * @param others - more properties to select, for {@link Selection.columnReader}
   */
  selection(
    alias: string,
    isRead = isSelected,
    others: readonly (keyof Columns & string)[] = [],
  ): Selection<Entity, Columns> {
    const nameOf = (column: ColumnMetadata) => alias + this.metadata.columns.indexOf(column);
    const qualified = (column: ColumnMetadata) => `${alias}.${this.quote(column.databaseName)}`;
    const selected = [...this.metadata.columns.filter(isRead), ...others.map((property) => this.column(property))];
    return {
      alias,
      table: `${this.name} ${alias}`,
      names: selected.map((column) => `${alias}.${nameOf(column)}`).join(', '),
      columns: selected.map((column) => `${qualified(column)} AS ${nameOf(column)}`).join(', '),
      column: (property) => qualified(this.column(property)),
      read: this.reader(nameOf, isRead),
      columnReader: <Property extends keyof Columns & string>(property: Property) => {
        const column = this.column(property);
        const name = nameOf(column);
        return (row: Row) => this.value(row[name], column) as Columns[Property];
      },
    };
  }

  /** Reads one column of a selected row. The column may have `select: false`. */
  readColumn(row: Row, property: keyof Columns & string): unknown {
    const column = this.column(property);
    return this.value(row[column.databaseName], column);
  }

  /**
   * A statement in SQL with placeholders for names: `{}` is the table, `{*}` all its columns, `{property}` the column of a
   * property. The values must have the form that the driver accepts: see {@link driverValue}.
   */
  statement(sql: string, values: Statement['values']): Statement {
    const named = sql.replaceAll(/\{(\w*|\*)\}/g, (_, name: string) => {
      if (name === '') return this.name;
      return name === '*' ? this.columns : this.quote(this.column(name).databaseName);
    });
    return { sql: named, values };
  }

  /** Converts the value of a property to the form that the driver accepts. */
  driverValue<Property extends keyof Columns & string>(property: Property, value: Columns[Property]): SqlValue {
    return this.dataSource.driver.preparePersistentValue(value, this.column(property)) as SqlValue;
  }

  /** What a dialect has to know of the column of a property. */
  comparedColumn(property: keyof Columns & string): ComparedColumn {
    const column = this.column(property);
    const { transformer, unsigned, charset, collation } = column;
    return { type: this.dataSource.driver.normalizeType(column), transformer, unsigned, charset, collation };
  }

  /** The values of the columns that a subclass added to a base entity, without the columns that the database fills. */
  addedProperties(entity: Entity, base: EntityTarget<ObjectLiteral>): Partial<Columns> {
    const known = new Set(
      getMetadataArgsStorage()
        .filterColumns(base as () => unknown)
        .map(({ propertyName }) => propertyName),
    );
    const added = this.metadata.columns.filter(
      (column) => column.isSelect && column.isInsert && !column.isGenerated && !known.has(column.propertyName),
    );
    const values = added.map((column) => [column.propertyName, entity[column.propertyName] as unknown] as const);
    return Object.fromEntries(values.filter(([, value]) => value !== undefined)) as Partial<Columns>;
  }

  select(criteria: Partial<Columns>): Statement {
    const where = this.conditions(criteria);
    return this.statement(`SELECT {*} FROM {} WHERE ${where.sql.join(' AND ')}`, where.values);
  }

  insert(row: Partial<Columns>): Statement {
    const { sql, values } = this.pairs(row, '');
    const marks = values.map(() => '?').join(', ');
    return { sql: `INSERT INTO ${this.name} (${sql.join(', ')}) VALUES (${marks})`, values };
  }

  update(change: Partial<Columns>, criteria: Partial<Columns>): Statement {
    return this.updateWith([], change, criteria);
  }

  /** As {@link update}, and like TypeORM's `Repository.update` it changes the version and the update date of the rows. */
  change(change: Partial<Columns>, criteria: Partial<Columns>): Statement {
    const { versionColumn, updateDateColumn } = this.metadata;
    const version = versionColumn && this.quote(versionColumn.databaseName);
    const updateDate = updateDateColumn && this.quote(updateDateColumn.databaseName);
    const assignments = [version && `${version} = ${version} + 1`, updateDate && `${updateDate} = CURRENT_TIMESTAMP`];
    return this.updateWith(
      assignments.filter((assignment) => assignment !== undefined),
      change,
      criteria,
    );
  }

  private updateWith(assignments: string[], change: Partial<Columns>, criteria: Partial<Columns>): Statement {
    const set = this.pairs(change, ' = ?');
    const where = this.conditions(criteria);
    return {
      sql: `UPDATE ${this.name} SET ${[...set.sql, ...assignments].join(', ')} WHERE ${where.sql.join(' AND ')}`,
      values: [...set.values, ...where.values],
    };
  }

  delete(criteria: Partial<Columns>): Statement {
    const where = this.conditions(criteria);
    return { sql: `DELETE FROM ${this.name} WHERE ${where.sql.join(' AND ')}`, values: where.values };
  }

  /** The conditions that select the rows of a statement. Without any, the statement would change all rows. */
  private conditions(criteria: Partial<Columns>) {
    const conditions = this.pairs(criteria, ' = ?');
    if (conditions.sql.length === 0) throw new TypeError('criteria are empty');
    return conditions;
  }

  /** The quoted column of each property, followed by a suffix, and the value of each property as the driver accepts it. */
  private pairs(properties: Partial<Columns>, suffix: string): { sql: string[]; values: Statement['values'] } {
    const entries = Object.entries(properties).map(([property, value]) => {
      // With an undefined value, the statement could concern all rows, or none.
      if (value === undefined) throw new TypeError(`${property} is undefined`);
      return { column: this.column(property), value };
    });
    return {
      sql: entries.map(({ column }) => this.quote(column.databaseName) + suffix),
      values: entries.map(({ column, value }) => this.dataSource.driver.preparePersistentValue(value, column)),
    };
  }

  /** @param nameOf - the name of a column in the row */
  private reader(
    nameOf: (column: ColumnMetadata) => string,
    isRead: (column: ColumnMetadata) => boolean,
  ): (row: Row) => Entity {
    const read = this.metadata.columns.filter(isRead).map((column) => ({ column, name: nameOf(column) }));
    return (row) => {
      const entity = this.metadata.create(undefined, { fromDeserializer: true }) as Entity;
      for (const { column, name } of read) column.setEntityValue(entity, this.value(cloneValue(row[name]), column));
      return entity;
    };
  }

  private value(value: unknown, column: ColumnMetadata): unknown {
    return this.dataSource.driver.prepareHydratedValue(value, column);
  }

  private column(property: string): ColumnMetadata {
    return this.metadata.findColumnWithPropertyName(property)!;
  }

  private readonly quote = (name: string) => this.dataSource.driver.escape(name);
}

/**
 * Clones a value that a driver returned. Drivers return objects for dates, lists and JSON, and one row may be read for several
 * requests: one request must not change what another one sees.
 */
function cloneValue(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Date) return new Date(value);
  if (Buffer.isBuffer(value)) return Buffer.from(value);
  if (Array.isArray(value)) return value.map(cloneValue);
  // An object of a class of the driver, which cannot be cloned.
  if (Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, cloneValue(member)]));
}
