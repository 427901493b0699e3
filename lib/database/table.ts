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

const isSelected = ({ isSelect }: ColumnMetadata): boolean => isSelect;

/** A table within a statement over several, and its rows. */
export interface Selection<Entity, Columns> extends AliasedTable {
  /** The column of a property. */
  column(property: keyof Columns & string): string;
  /** The entity of a row, as {@link Table.read}. */
  read(row: Row): Entity;
  /** One column of a row, as {@link Table.readColumn}. */
  readColumn(row: Row, property: keyof Columns & string): unknown;
}

/**
 * Statements over the table of an entity. Names of columns come from its metadata and values pass its transformers, so that
 * an application's subclass, naming strategy and schema are respected.
 *
 * @typeParam Columns - the properties that may be compared and written
 */
export class Table<Entity extends ObjectLiteral, Columns extends object> {
  readonly metadata: EntityMetadata;
  private readonly name: string;
  private readonly columns: string;
  /** The entity of a selected row, without the columns that have `select: false`. */
  readonly read: (row: Row) => Entity;

  constructor(
    private readonly dataSource: DataSource,
    entity: EntityTarget<Entity>,
  ) {
    this.metadata = dataSource.getMetadata(entity);
    this.name = this.metadata.tablePath.split('.').map(this.quote).join('.');
    this.columns = this.metadata.columns.map((column) => this.quote(column.databaseName)).join(', ');
    this.read = this.reader(({ databaseName }) => databaseName, isSelected);
  }

  /** An entity with these properties. */
  create(properties: Partial<Entity>): Entity {
    return Object.assign(this.metadata.create(), properties) as Entity;
  }

  /**
   * A part of a statement that selects from several tables, in which this one goes by an alias.
   *
   * @param isRead - which columns an entity is given
   * @param others - properties that are selected beside them, for {@link Selection.readColumn}
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
      readColumn: (row, property) => this.value(row[nameOf(this.column(property))], this.column(property)),
    };
  }

  /** One column of a selected row, also one that has `select: false`. */
  readColumn(row: Row, property: keyof Columns & string): unknown {
    const column = this.column(property);
    return this.value(row[column.databaseName], column);
  }

  /**
   * A statement in SQL: `{}` stands for the table, `{*}` for all its columns, `{property}` for the column of a property.
   * Values are given as the driver takes them: see {@link driverValue}.
   */
  statement(sql: string, values: Statement['values']): Statement {
    const named = sql.replaceAll(/\{(\w*|\*)\}/g, (_, name: string) => {
      if (name === '') return this.name;
      return name === '*' ? this.columns : this.quote(this.column(name).databaseName);
    });
    return { sql: named, values };
  }

  /** The value of a property as the driver takes it. */
  driverValue<Property extends keyof Columns & string>(property: Property, value: Columns[Property]): SqlValue {
    return this.dataSource.driver.preparePersistentValue(value, this.column(property)) as SqlValue;
  }

  /** The column of a property, as a dialect takes it. */
  comparedColumn(property: keyof Columns & string): ComparedColumn {
    const column = this.column(property);
    const { transformer, unsigned, charset, collation } = column;
    return { type: this.dataSource.driver.normalizeType(column), transformer, unsigned, charset, collation };
  }

  /** What an entity holds in the columns that a subclass added to those of a base, but for those that the database fills. */
  addedProperties(entity: Entity, base: EntityTarget<ObjectLiteral>): Partial<Columns> {
    const known = new Set(
      getMetadataArgsStorage()
        .filterColumns(base as () => unknown)
        .map(({ propertyName }) => propertyName),
    );
    const added = this.metadata.columns.filter(
      (column) => column.isSelect && column.isInsert && !column.isGenerated && !known.has(column.propertyName),
    );
    const held = added.map((column) => [column.propertyName, entity[column.propertyName] as unknown] as const);
    return Object.fromEntries(held.filter(([, value]) => value !== undefined)) as Partial<Columns>;
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
    const set = this.pairs(change, ' = ?');
    const where = this.conditions(criteria);
    return {
      sql: `UPDATE ${this.name} SET ${set.sql.join(', ')} WHERE ${where.sql.join(' AND ')}`,
      values: [...set.values, ...where.values],
    };
  }

  /** @param except - rows that stay */
  delete(criteria: Partial<Columns>, except: Partial<Columns> = {}): Statement {
    const where = this.conditions(criteria);
    const unless = this.pairs(except, ' <> ?');
    return {
      sql: `DELETE FROM ${this.name} WHERE ${[...where.sql, ...unless.sql].join(' AND ')}`,
      values: [...where.values, ...unless.values],
    };
  }

  /** Those of the rows that a statement is about: never of all rows. */
  private conditions(criteria: Partial<Columns>) {
    const conditions = this.pairs(criteria, ' = ?');
    if (conditions.sql.length === 0) throw new TypeError('criteria are empty');
    return conditions;
  }

  /** Each property as its quoted column with something behind it, and its value as the driver takes it. */
  private pairs(properties: Partial<Columns>, suffix: string): { sql: string[]; values: Statement['values'] } {
    const entries = Object.entries(properties).map(([property, value]) => {
      // An undefined value would compare with everything, or with nothing.
      if (value === undefined) throw new TypeError(`${property} is undefined`);
      return { column: this.column(property), value };
    });
    return {
      sql: entries.map(({ column }) => this.quote(column.databaseName) + suffix),
      values: entries.map(({ column, value }) => this.dataSource.driver.preparePersistentValue(value, column)),
    };
  }

  /** @param nameOf - what a column is called in the row */
  private reader(
    nameOf: (column: ColumnMetadata) => string,
    isRead: (column: ColumnMetadata) => boolean,
  ): (row: Row) => Entity {
    const named = this.metadata.columns.filter(isRead).map((column) => ({ column, name: nameOf(column) }));
    return (row) => {
      const entity = this.metadata.create(undefined, { fromDeserializer: true }) as Entity;
      for (const { column, name } of named) column.setEntityValue(entity, this.value(ownOf(row[name]), column));
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
 * What a driver returned, as nobody else holds it: of dates, lists and JSON drivers make objects, and a row that is looked up
 * for several requests is read for each of them.
 */
function ownOf(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Date) return new Date(value);
  if (Buffer.isBuffer(value)) return Buffer.from(value);
  if (Array.isArray(value)) return value.map(ownOf);
  // What is of a class of the driver's own stays as it is.
  if (Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([name, held]) => [name, ownOf(held)]));
}
