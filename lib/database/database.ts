import type { EntityManager } from 'typeorm';
import type { Dialect, Statement } from './dialect.js';

/** A row as the driver returns it, by column name. */
export type Row = Record<string, unknown>;

/** What a statement returned, and how many rows it changed. */
export interface Result {
  readonly rows: Row[];
  readonly affected: number;
}

/**
 * The statements of one transaction: the script yields each statement and gets its result. It is a generator, not an async
 * function, because SQLite runs it without a pause: TypeORM has one SQLite connection for the whole process, and statements
 * that other requests sent during a pause would become part of this transaction.
 */
export type TransactionScript<T> = Generator<Statement, T, Result>;

/**
 * The connection to one database. Statements are sent directly to the driver: TypeORM's query log would show their values,
 * and some of them are digests.
 */
export interface Database {
  /** How this database words SQL. */
  readonly dialect: Dialect;

  /**
   * Returns the rows that a `SELECT` finds on the primary.
   *
   * @param signal - when it is aborted, the method stops waiting for the rows
   */
  read(statement: Statement, signal: AbortSignal): Promise<Row[]>;

  /**
   * Reads entities on the primary in TypeORM's way, with eager relations, listeners and subscribers.
   *
   * @param load - only reads; it is called again if the connection was lost
   */
  readEntities<T>(load: (manager: EntityManager) => Promise<T>, signal: AbortSignal): Promise<T>;

  /**
   * Runs one statement on the primary, outside of any other transaction.
   *
   * @param signal - if it is aborted before the statement is sent, the statement is not sent
   * @returns how many rows it changed
   */
  write(statement: Statement, signal: AbortSignal): Promise<number>;

  /**
   * Makes sure that transactions can take locks, and creates the table of locks if it does not exist.
   *
   * @throws LockTableError if the table cannot be created or used
   */
  prepareLocks(signal: AbortSignal): Promise<void>;

  /**
   * Runs a script in a transaction on the primary. In all processes, only one transaction with the same lock runs at a time.
   *
   * @param lock - any text; transactions with equal locks wait for each other. Null if the script needs no lock
   * @param script - makes the statements; it is called again if the transaction was aborted by a conflict, or if its
   * connection was lost before the commit
   * @param signal - when it is aborted, no further statement is sent and the transaction is rolled back
   */
  transaction<T>(lock: string | null, script: () => TransactionScript<T>, signal: AbortSignal): Promise<T>;
}
