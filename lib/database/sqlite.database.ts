import { setTimeout as wait } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import type { DataSource, EntityManager } from 'typeorm';
import { describeError } from '../errors/describe-error.js';
import {
  type ComparedColumn,
  type Database,
  anyOfList,
  joinOn,
  type Result,
  type Row,
  type TransactionScript,
  type SqlValue,
  type Statement,
} from './database.js';
import { classifyDriverError } from '../errors/driver-errors.js';
import { KeyedQueue } from '../async/keyed-queue.js';

/** How often to look whether another transaction has ended. */
const POLL_MS = 1;

/** Types of columns that hold numbers or texts. */
const COMPARABLE = ['integer', 'int', 'bigint', 'smallint', 'varchar', 'text'];

/** The part of a `better-sqlite3` database that is used here. */
interface SqliteHandle {
  readonly inTransaction: boolean;
  exec(sql: string): void;
  prepare(sql: string): Prepared;
}

interface Prepared {
  readonly reader: boolean;
  all(values: readonly unknown[]): Row[];
  run(values: readonly unknown[]): { changes: number };
}

/** Statements that are kept prepared: more than the package has, and a bound to them all the same. */
const MAX_PREPARED = 200;

/** SQLite, through `better-sqlite3` or a driver with the same interface. */
export class SqliteDatabase implements Database {
  readonly seesOrderBehindNull = true;
  onTransactionEnd: Database['onTransactionEnd'] = async () => undefined;
  readonly columnTypesDecodedDifferently = ['jsonb'];
  readonly leftJoin = joinOn;

  private readonly logger = new Logger('ExpiringToken');
  private readonly queue = new KeyedQueue();
  private prepared: { handle?: SqliteHandle; statements: Map<string, Prepared> } = { statements: new Map() };

  constructor(private readonly dataSource: DataSource) {
    if (dataSource.isInitialized) this.preferWal();
  }

  anyOf(column: string, values: readonly SqlValue[]): Statement {
    return anyOfList(column, values);
  }

  castText(text: string, column: ComparedColumn): string | null {
    // Compared with a column of numbers, SQLite makes a number of a text that is one.
    const type = this.dataSource.driver.normalizeType(column);
    return !column.transformer && COMPARABLE.includes(type) ? text : null;
  }

  async read(statement: Statement): Promise<Row[]> {
    return this.send(statement).rows;
  }

  async readEntities<T>(use: (manager: EntityManager) => Promise<T>): Promise<T> {
    return use(this.dataSource.manager);
  }

  /** By itself, SQLite carries its write-ahead log to the file once it has a thousand pages: unless it is told not to. */
  checkpoint(): void {
    try {
      const [automatic] = this.prepare('PRAGMA wal_autocheckpoint').all([]);
      if (automatic?.wal_autocheckpoint === 0 || this.handle.inTransaction) return;
      this.handle.exec('PRAGMA wal_checkpoint(PASSIVE)');
    } catch {
      // Then it does so by itself.
    }
  }

  /** In a transaction all the same: beginning one is what can fail without a statement being left half done. */
  write(statement: Statement, signal: AbortSignal): Promise<number> {
    const script = function* (): TransactionScript<number> {
      return (yield statement).affected;
    };
    return this.transactWhenIdle(script, signal);
  }

  async transaction<T>(lock: string, script: () => TransactionScript<T>, signal: AbortSignal): Promise<T> {
    try {
      return await this.transactWhenIdle(script, signal);
    } finally {
      await this.onTransactionEnd(lock);
    }
  }

  private transactWhenIdle<T>(script: () => TransactionScript<T>, signal: AbortSignal): Promise<T> {
    return this.whenIdle(signal, () => this.withoutBusyTimeout(() => this.transact(script())));
  }

  private transact<T>(script: TransactionScript<T>): T {
    const { handle } = this;
    handle.exec('BEGIN IMMEDIATE');
    try {
      let step = script.next();
      while (!step.done) step = script.next(this.send(step.value));
      handle.exec('COMMIT');
      return step.value;
    } catch (error) {
      if (handle.inTransaction) handle.exec('ROLLBACK');
      throw error;
    }
  }

  private send({ sql, values }: Statement): Result {
    const statement = this.prepare(sql);
    return statement.reader
      ? { rows: statement.all(values), affected: 0 }
      : { rows: [], affected: statement.run(values).changes };
  }

  /**
   * Writes outside of any transaction that the application has open on the shared connection: what was written within it
   * would be lost, after it was answered, if the application rolled back. Nothing may be awaited between the look and the
   * work, or the application begins a transaction there. Waits for other processes in the same way.
   */
  private whenIdle<T>(signal: AbortSignal, work: () => T): Promise<T> {
    // One after another: if all that wait asked time and again, that would be all that the process does.
    return this.queue.run('', async () => {
      for (;;) {
        signal.throwIfAborted();
        try {
          if (!this.handle.inTransaction) return work();
        } catch (error) {
          if (classifyDriverError(error) !== 'conflict') throw error;
        }
        await wait(POLL_MS);
      }
    });
  }

  /**
   * Keeps readers going while another process writes: a write-ahead log is kept with the file from now on. Where the
   * application has chosen otherwise, by `enableWAL: false` or a journal mode of its own, that stays.
   */
  private preferWal(): void {
    const { enableWAL, readonly } = this.dataSource.options as { enableWAL?: boolean; readonly?: boolean };
    if (enableWAL === false || readonly) return;
    try {
      const [mode] = this.handle.prepare('PRAGMA journal_mode').all([]);
      if (mode?.journal_mode === 'delete') this.withoutBusyTimeout(() => this.handle.exec('PRAGMA journal_mode = WAL'));
    } catch (error) {
      this.logger.warn(`SQLite keeps no write-ahead log, so readers wait for writers: ${describeError(error)}`);
    }
  }

  /** Fails where the driver would wait for another process in this thread, and every request with it. */
  private withoutBusyTimeout<T>(work: () => T): T {
    const { handle } = this;
    const [usual] = this.prepare('PRAGMA busy_timeout').all([]);
    handle.exec('PRAGMA busy_timeout = 0');
    try {
      return work();
    } finally {
      handle.exec(`PRAGMA busy_timeout = ${Number(usual?.timeout)}`);
    }
  }

  /** Prepared once: each one takes memory that is not the garbage collector's, which frees it late. */
  private prepare(sql: string): Prepared {
    const { handle } = this;
    if (this.prepared.handle !== handle || this.prepared.statements.size >= MAX_PREPARED)
      this.prepared = { handle, statements: new Map() };
    const { statements } = this.prepared;
    const statement = statements.get(sql) ?? handle.prepare(sql);
    statements.set(sql, statement);
    return statement;
  }

  /** The connection that TypeORM has open at present. */
  private get handle(): SqliteHandle {
    return (this.dataSource.driver as unknown as { databaseConnection: SqliteHandle }).databaseConnection;
  }
}
