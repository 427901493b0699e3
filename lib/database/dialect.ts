import type { EntityMetadata, ValueTransformer } from 'typeorm';

type ColumnMetadata = EntityMetadata['columns'][number];

/** A value that the drivers of all databases accept. A list is made by {@link Dialect.anyOf} only. */
export type SqlValue = string | number | Buffer | null | readonly SqlValue[];

/** One SQL statement with `?` for its values. */
export interface Statement {
  readonly sql: string;
  readonly values: readonly SqlValue[];
}

/** A table in a statement over several tables. */
export interface AliasedTable {
  readonly alias: string;
  /** The table's name, followed by its alias. */
  readonly table: string;
  /** Its selected columns, each with an `AS` that gives it a unique name. */
  readonly columns: string;
  /** Those unique names, qualified with the alias: the columns of a subquery that has the alias. */
  readonly names: string;
}

/** The columns that a statement selects from a joined table, and the `JOIN` clause. */
export interface Join {
  readonly columns: string;
  readonly clause: string;
}

/** A column that gets another value in each row, for {@link BulkUpdate}. */
interface EachValue {
  readonly table: string;
  /** The primary key, a column of UUIDs. */
  readonly id: string;
  /** A column of 64-bit integers. */
  readonly column: string;
  /** The ids of the rows, and the value for each. */
  readonly rows: readonly (readonly [id: SqlValue, value: number])[];
  /** The condition under which a row is changed. `value` is the SQL of its new value. */
  readonly condition: (value: string) => string;
}

/** How one statement changes many rows. */
export interface BulkUpdate {
  readonly updateEach: (update: EachValue) => Statement;
  /** The end of a `SELECT` that locks the rows that it finds, but leaves out those that another transaction has locked. */
  readonly lockUnlocked: string;
}

/** What {@link Dialect.castText} has to know of a column. */
export interface ComparedColumn extends Partial<Pick<ColumnMetadata, 'charset' | 'collation' | 'unsigned'>> {
  /** The type as TypeORM's driver normalizes it. */
  readonly type: string;
  readonly transformer?: ValueTransformer | ValueTransformer[];
}

/**
 * The content of a column whose type differs between the databases:
 *
 * - `uuid`: in the code a UUID in its canonical form, in the table what the database stores best
 * - `key`: a UUID that is in its canonical form in the table too, because tables of the application refer to it
 * - `digest`: 32 bytes
 * - `sealed`: a few hundred bytes
 * - `text`: text that is compared byte by byte, whatever collation the database prefers
 */
export type ColumnKind = 'uuid' | 'key' | 'digest' | 'sealed' | 'text';

/** The properties of a column that replace those of its decorator. */
type ColumnType = Partial<Pick<ColumnMetadata, 'type' | 'length' | 'charset' | 'collation' | 'transformer'>>;

/**
 * The SQL of the table of locks. A transaction takes a lock by changing the row of the lock before it does anything else: all
 * transactions that change this row run one after the other, wherever the rows of the database are. Reading the row
 * `FOR UPDATE` would not suffice: a Galera cluster compares what its nodes have changed.
 */
interface LockSql {
  /** Creates the table if it does not exist. The migration uses it: do not change it after a release. */
  readonly create: (table: string) => string;
  /** Takes the lock of a row, which need not exist. */
  readonly take: (table: string, row: number) => string;
}

/** How one database words SQL: no connection, no state, so a test needs no server. */
export interface Dialect {
  /**
   * The types of columns by their content. A kind that is missing has the type that its decorator names.
   *
   * The migrations create columns of these types. After a release, do not change the type of a kind: add another kind, and a
   * migration that changes the columns.
   */
  readonly columnTypes: Readonly<Partial<Record<ColumnKind, ColumnType>>>;

  /** False if the database enforces uniqueness by indexes alone, which TypeORM names as indexes then. */
  readonly hasUniqueConstraints: boolean;

  /**
   * Types of columns, other than spatial ones, whose values a statement of this package returns in another form than a
   * statement of TypeORM does.
   */
  readonly columnTypesDecodedDifferently: readonly string[];

  /** The condition that an indexed column of UUIDs equals one of the values, of which there is at least one. */
  anyOf(column: string, values: readonly SqlValue[]): Statement;

  /** {@link anyOf} for a column without an index: what it costs to check a row does not depend on the number of values. */
  hashedAnyOf(column: string, values: readonly SqlValue[]): Statement;

  /**
   * Converts SQL for a text to the type of a column, so that a comparison with the column can use an index of the column. A
   * text that is no value of the type becomes a value that the column does not contain, or NULL.
   *
   * @returns null if the type cannot be compared in this way
   */
  castText(text: string, column: ComparedColumn): string | null;

  /** Null if the database has one writer at a time anyway. */
  readonly locks: LockSql | null;

  /** Null if one statement for each row is as fast. */
  readonly bulkUpdate: BulkUpdate | null;

  /** A `LEFT JOIN` with a table of which at most one row fulfils the condition. */
  leftJoin(selected: AliasedTable, condition: string): Join;

  /**
   * The terms of an `ORDER BY` that the database recognizes as the order of an index, so that it need not sort.
   *
   * @param fixed - the first columns of the index, each of which has one value because of the `WHERE`, for example NULL
   * @param columns - the columns behind them
   */
  indexOrder(fixed: readonly string[], columns: readonly string[]): string;
}

/** {@link Dialect.leftJoin} in standard SQL. */
export const joinOn: Dialect['leftJoin'] = ({ table, columns }, condition) => ({
  columns,
  clause: `LEFT JOIN ${table} ON ${condition}`,
});

/**
 * {@link Dialect.anyOf} for drivers that cannot bind a list. The number of places is a power of two, because the driver keeps
 * each statement with another text prepared.
 */
export const anyOfPlaces: Dialect['anyOf'] = (column, values) => {
  const count = 2 ** Math.ceil(Math.log2(values.length));
  const padded = Array.from({ length: count }, (_, place) => values[place] ?? values[0]!);
  return { sql: `${column} IN (${padded.map(() => '?').join(', ')})`, values: padded };
};

/** {@link Dialect.indexOrder} for databases that know that a column behind `IS NULL` or `=` has one value. */
export const orderBehindFixed: Dialect['indexOrder'] = (_fixed, columns) => columns.join(', ');
