import type { EntityManager, EntityMetadata } from 'typeorm';

type ColumnMetadata = EntityMetadata['columns'][number];

/** What the drivers of all three databases bind alike. A list is what {@link Database.anyOf} made of some. */
export type SqlValue = string | number | Buffer | null | readonly SqlValue[];

/** One SQL statement with `?` for its values. */
export interface Statement {
  readonly sql: string;
  readonly values: readonly SqlValue[];
}

/** A table within a statement over several. */
export interface AliasedTable {
  readonly alias: string;
  /** The table under its alias. */
  readonly table: string;
  /** Its columns, under names of their own. */
  readonly columns: string;
  /** Those names, where the table is a statement of its own. */
  readonly names: string;
}

/** What of a joined table is selected, and the `JOIN`. */
export interface Join {
  readonly columns: string;
  readonly clause: string;
}

/** What TypeORM knows of a column. */
export type ComparedColumn = Pick<ColumnMetadata, 'type' | 'charset' | 'collation' | 'transformer' | 'unsigned'>;

/** A row as the driver returns it, by column name. */
export type Row = Record<string, unknown>;

/** What a statement returned, and how many rows it changed. */
export interface Result {
  readonly rows: Row[];
  readonly affected: number;
}

/**
 * The statements of one transaction: each is yielded, and its result comes back. A generator and not an async function,
 * because SQLite runs it without a pause: TypeORM has one SQLite connection for everybody, and whatever another request
 * did in a pause would become part of this transaction.
 */
export type TransactionScript<T> = Generator<Statement, T, Result>;

/** Statements sent straight to the driver: TypeORM's query log would show their values, digests among them. */
export interface Database {
  /**
   * The rows that a `SELECT` finds on the primary.
   *
   * @param signal - when it is aborted, the answer is not waited for any more
   */
  read(statement: Statement, signal: AbortSignal): Promise<Row[]>;

  /**
   * Reads entities on the primary, as TypeORM does: with what it loads eagerly, and what listens to it.
   *
   * @param use - reads and nothing else; called again where the connection was lost
   */
  readEntities<T>(use: (manager: EntityManager) => Promise<T>, signal: AbortSignal): Promise<T>;

  /**
   * Does one statement on the primary, by itself.
   *
   * @param signal - when it is aborted before the statement is sent, it is not
   * @returns how many rows it changed
   */
  write(statement: Statement, signal: AbortSignal): Promise<number>;

  /** Does a little at once of what many writes make the database do later in one go, with all requests waiting meanwhile. */
  checkpoint(): void;

  /** The condition that a column of UUIDs holds one of these, of which there is at least one. */
  anyOf(column: string, values: readonly SqlValue[]): Statement;

  /**
   * SQL for what a text column says, as the type of a column that it is compared with, so that an index of that column is
   * used; null where that cannot be. What is no value of the type is equal to none.
   */
  castText(text: string, column: ComparedColumn): string | null;

  /** Joins to each row that of another table for which a condition holds, or nulls. */
  leftJoin(selected: AliasedTable, condition: string): Join;

  /** Types of columns, spatial ones aside, whose values {@link read} does not return as TypeORM reads them. */
  readonly columnTypesDecodedDifferently: readonly string[];

  /**
   * Whether the server sees that a column which `IS NULL` has one value, so that the columns behind it in an index are in
   * order. One that does not see it must be asked for the order of all columns; one that does would sort by them.
   */
  readonly seesOrderBehindNull: boolean;

  /**
   * Runs a script in a transaction on the primary, alone among those of the same lock in every process.
   *
   * @param lock - what to serialise by: equal strings wait for each other
   * @param script - makes the statements; called again where the server gave up the transaction for another one
   * @param signal - when it is aborted, the next step is not taken and the transaction is rolled back
   */
  transaction<T>(lock: string, script: () => TransactionScript<T>, signal: AbortSignal): Promise<T>;

  /** Told the lock of each transaction that ended, whether it is known to be committed or not, before its caller hears. */
  onTransactionEnd: (lock: string) => Promise<void>;
}

/** {@link Database.leftJoin} as it is written usually. */
export const joinOn = ({ table, columns }: AliasedTable, condition: string): Join => ({
  columns,
  clause: `LEFT JOIN ${table} ON ${condition}`,
});

/** {@link Database.anyOf} where no list can be bound. Of few texts, because each is prepared: a power of two of places. */
export function anyOfList(column: string, values: readonly SqlValue[]): Statement {
  const places = 2 ** Math.ceil(Math.log2(values.length));
  const listed = Array.from({ length: places }, (_, place) => values[place] ?? values[0]!);
  return { sql: `${column} IN (${listed.map(() => '?').join(', ')})`, values: listed };
}
