import { setTimeout as wait } from 'node:timers/promises';
import type { DataSource, EntityManager } from 'typeorm';
import { describeError } from '../errors/describe-error.js';
import { PackageLogger } from '../errors/package.logger.js';
import { KeyedQueue } from '../async/keyed-queue.js';
import { classifyDriverError } from '../errors/driver-errors.js';
import type { Database, Result, Row, TransactionScript } from './database.js';
import type { Dialect, Statement } from './dialect.js';

/** How often this package checks whether another transaction has ended. */
const POLL_MS = 1;

/** A statement that changed this many rows is probably one of a series, for example of the batches of pruning. */
const MANY_ROWS = 20;

/** The methods of a `better-sqlite3` database that this package uses. */
interface SqliteHandle {
  /** A driver may lack it. */
  readonly open?: boolean;
  readonly inTransaction: boolean;
  exec(sql: string): void;
  prepare(sql: string): Prepared;
}

/** The part of TypeORM's driver that this package uses. */
interface SqliteDriver {
  readonly databaseConnection: SqliteHandle;
  /** Opens the file once more, with the options of the data source. */
  createDatabaseConnection(): Promise<SqliteHandle & { close(): void }>;
}

interface Prepared {
  readonly reader: boolean;
  all(values: readonly unknown[]): Row[];
  run(values: readonly unknown[]): { changes: number };
}

/** Limit for the statements that are kept prepared. The package has fewer. */
const MAX_PREPARED = 200;

/** SQLite, through `better-sqlite3` or a driver with the same interface. */
export class SqliteDatabase implements Database {
  private readonly logger = new PackageLogger();
  private readonly queue = new KeyedQueue();
  private prepared: { handle?: SqliteHandle; statements: Map<string, Prepared> } = { statements: new Map() };

  constructor(
    private readonly dataSource: DataSource,
    readonly dialect: Dialect,
  ) {
    if (dataSource.isInitialized) this.enableWal();
  }

  async read(statement: Statement): Promise<Row[]> {
    if (!this.mayBePast()) return this.send(statement).rows;
    const handle = await this.driver.createDatabaseConnection();
    try {
      return handle.prepare(statement.sql).all(statement.values);
    } finally {
      handle.close();
    }
  }

  async readEntities<T>(load: (manager: EntityManager) => Promise<T>, signal: AbortSignal): Promise<T> {
    // TypeORM has the shared connection only.
    if (this.mayBePast()) await this.outsideTransactions(signal, () => undefined);
    return load(this.dataSource.manager);
  }

  /** The statement gets a transaction, because only `BEGIN` can fail without leaving a statement half done. */
  write(statement: Statement, signal: AbortSignal): Promise<number> {
    const script = function* (): TransactionScript<number> {
      return (yield statement).affected;
    };
    return this.outsideTransactions(signal, () => {
      const affected = this.withoutBusyTimeout(() => this.transact(script()));
      if (affected >= MANY_ROWS) this.checkpoint();
      return affected;
    });
  }

  /** Nothing to do: SQLite has one writer at a time. */
  async prepareLocks(): Promise<void> {}

  transaction<T>(_lock: string | null, script: () => TransactionScript<T>, signal: AbortSignal): Promise<T> {
    return this.outsideTransactions(signal, () => this.withoutBusyTimeout(() => this.transact(script())));
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
   * Whether a read on the shared connection may not see what other processes have committed, for example a revocation. With a
   * write-ahead log, a transaction of the application sees the state at its first read until it ends.
   */
  private mayBePast(): boolean {
    if (!this.isInTransaction) return false;
    const [journal] = this.prepare('PRAGMA journal_mode').all([]);
    const [locking] = this.prepare('PRAGMA locking_mode').all([]);
    return journal?.journal_mode === 'wal' && locking?.locking_mode === 'normal';
  }

  /**
   * Copies a part of the write-ahead log to the database file. SQLite does this itself at a thousand pages, all in one go,
   * and all requests wait meanwhile. Nothing is done if the application has turned that off.
   */
  private checkpoint(): void {
    try {
      const [automatic] = this.prepare('PRAGMA wal_autocheckpoint').all([]);
      if (automatic?.wal_autocheckpoint !== 0) this.handle.exec('PRAGMA wal_checkpoint(PASSIVE)');
    } catch {
      // SQLite copies that part later.
    }
  }

  /**
   * Waits until no transaction of the application is open on the shared connection, and no other process writes. What this
   * package wrote in a transaction of the application would be lost, after the response was sent, if the application rolled
   * back.
   *
   * @param work - synchronous: between the check and the work the application must not begin a transaction
   */
  private outsideTransactions<T>(signal: AbortSignal, work: () => T): Promise<T> {
    // One caller polls at a time. If every waiting caller polled, the process would do nothing else.
    return this.queue.run('', async () => {
      for (;;) {
        signal.throwIfAborted();
        try {
          if (!this.isInTransaction) return work();
        } catch (error) {
          if (classifyDriverError(error) !== 'conflict') throw error;
        }
        await wait(POLL_MS);
      }
    });
  }

  /**
   * Turns on the write-ahead log, with which readers do not wait for a process that writes. The setting stays in the file. If
   * the application has chosen another journal mode, or `enableWAL: false`, nothing changes.
   */
  private enableWal(): void {
    const { enableWAL, readonly } = this.dataSource.options as { enableWAL?: boolean; readonly?: boolean };
    if (enableWAL === false || readonly) return;
    try {
      const [mode] = this.handle.prepare('PRAGMA journal_mode').all([]);
      if (mode?.journal_mode === 'delete') this.withoutBusyTimeout(() => this.handle.exec('PRAGMA journal_mode = WAL'));
    } catch (error) {
      this.logger.warn(`SQLite keeps no write-ahead log, so readers wait for writers: ${describeError(error)}`);
    }
  }

  /** Makes SQLite fail if another process writes. With its timeout, SQLite would wait in this thread, and block every request. */
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

  /** Prepares each statement once: the memory of a prepared statement is freed late, because it is not on the heap of V8. */
  private prepare(sql: string): Prepared {
    const { handle } = this;
    if (this.prepared.handle !== handle || this.prepared.statements.size >= MAX_PREPARED)
      this.prepared = { handle, statements: new Map() };
    const { statements } = this.prepared;
    const statement = statements.get(sql) ?? handle.prepare(sql);
    statements.set(sql, statement);
    return statement;
  }

  /** TypeORM's connection, which is another one after the data source was initialized again. */
  private get handle(): SqliteHandle {
    return this.driver.databaseConnection;
  }

  /** Whether a transaction of the application is open. A driver may end the process if a closed connection is asked. */
  private get isInTransaction(): boolean {
    const { handle } = this;
    return handle.open !== false && handle.inTransaction;
  }

  private get driver(): SqliteDriver {
    return this.dataSource.driver as unknown as SqliteDriver;
  }
}
