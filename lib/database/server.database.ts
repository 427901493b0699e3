import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import { retry } from '../async/retry.js';
import { raceAbort } from '../async/with-timeout.js';
import { describeError } from '../errors/describe-error.js';
import { type DriverErrorKind, classifyDriverError, LeftInTransactionError } from '../errors/driver-errors.js';
import { LimitedWarning } from '../errors/limited-warning.js';
import { PackageLogger } from '../errors/package.logger.js';
import type { Database, Result, Row, TransactionScript } from './database.js';
import type { Dialect, Statement } from './dialect.js';
import { type LockTable, LockTableError, stripeOf } from './lock-table.js';

/** Errors after which another attempt can succeed, because nothing of the statement was committed. */
const REFUSED: readonly DriverErrorKind[] = ['conflict', 'locked', 'stale', 'session', 'readonly'];

/** Errors after which the connection is of no use. */
const UNUSABLE: readonly DriverErrorKind[] = ['session', 'readonly', 'lost'];

/** Errors after which another attempt can succeed, provided that nothing was committed. */
const RETRYABLE: readonly DriverErrorKind[] = [...REFUSED, 'lost'];

/**
 * Limit for the connections that are closed within ten minutes because they did not respond. It is large enough to empty a
 * pool whose server is gone. It is small enough for a server that only waits for a lock: such a server continues to wait on
 * behalf of each closed connection, and would run out of connections.
 */
const MAX_CLOSED = 20;
const CLOSING_WINDOW_MS = 600_000;

/**
 * How long the server waits for a lock at a time. It continues to wait on behalf of a connection that is closed, and such a waiter
 * must not keep a connection of the server.
 */
export const MAX_LOCK_WAIT_SECONDS = 1;

/** The result of some work, and whether its last statement ran inside a transaction. */
export interface Observed<T> {
  readonly result: T;
  readonly isInTransaction: boolean;
}

/** A database server, reached over the connections of the data source's pool. */
export abstract class ServerDatabase<Connection> implements Database {
  protected readonly logger = new PackageLogger();
  private closedAtMs: number[] = [];
  private readonly sessionWarning = new LimitedWarning(this.logger);

  constructor(
    private readonly dataSource: DataSource,
    readonly dialect: Dialect,
    protected readonly locks: LockTable,
  ) {}

  async read(statement: Statement, signal: AbortSignal): Promise<Row[]> {
    const send = (connection: Connection) => this.sendToLatest(connection, statement);
    return (await this.readWithRetry((_, connection) => send(connection), signal)).rows;
  }

  readEntities<T>(load: (manager: EntityManager) => Promise<T>, signal: AbortSignal): Promise<T> {
    const catchUpAndLoad = async ({ manager }: QueryRunner, connection: Connection) => {
      await this.catchUp(connection);
      return load(manager);
    };
    return this.readWithRetry(catchUpAndLoad, signal);
  }

  async write(statement: Statement, signal: AbortSignal): Promise<number> {
    const send = () =>
      this.withConnection(
        (_, connection) => this.outsideTransactions(connection, () => this.sendToLatest(connection, statement)),
        signal,
      );
    // No retry if the connection was lost: the statement may have been executed.
    return (await retry(send, REFUSED, signal)).affected;
  }

  prepareLocks(signal: AbortSignal): Promise<void> {
    return this.transaction('', function* () {}, signal);
  }

  transaction<T>(lock: string | null, script: () => TransactionScript<T>, signal: AbortSignal): Promise<T> {
    const transact = () =>
      this.withConnection((_, connection) => this.transact(connection, lock, script(), signal), signal);
    return retry(transact, RETRYABLE, signal);
  }

  /** Runs a statement. */
  protected abstract send(connection: Connection, statement: Statement): Promise<Result>;

  /** Runs a statement on the latest state: on a node of a cluster, on all that the cluster has committed before. */
  protected sendToLatest(connection: Connection, statement: Statement): Promise<Result> {
    return this.send(connection, statement);
  }

  /** Waits on a node of a cluster until it has the latest state. */
  protected async catchUp(_connection: Connection): Promise<void> {}

  /** Throws an error of the kind `readonly` if a connection leads to a replica, which may lag behind. */
  protected async assertPrimary(_connection: Connection): Promise<void> {}

  /** Runs a command that has no values and no result. */
  protected abstract execute(connection: Connection, sql: string): Promise<unknown>;

  /** Closes a connection without waiting for the server. */
  protected abstract close(connection: Connection): void;

  /**
   * Begins a transaction at the isolation level `READ COMMITTED`: each statement sees what was committed while the transaction
   * waited for its lock. A stricter level would also lock the gaps beside a user's rows, and transactions of different users would
   * deadlock.
   *
   * @param takeLock - the first statement of the transaction, which waits for {@link MAX_LOCK_WAIT_SECONDS}. It has no values
   * @throws an error of the kind `session` if the connection is inside a transaction of the application, in which the lock and
   * the commit would have another meaning
   */
  protected abstract begin(connection: Connection, takeLock: string | null): Promise<void>;

  /** Runs some work and finds out, at best without another statement, whether it ran inside a transaction. */
  protected abstract observe<T>(connection: Connection, work: () => Promise<T>): Promise<Observed<T>>;

  /** Restores the settings of a connection that {@link begin} changed beyond the transaction. */
  protected async restore(_connection: Connection): Promise<void> {}

  /** The name under which the table of locks is created; null if it cannot be known yet. */
  protected async nameOfNewLockTable(_connection: Connection): Promise<string | null> {
    return this.locks.name;
  }

  private async transact<T>(
    connection: Connection,
    lock: string | null,
    script: TransactionScript<T>,
    signal: AbortSignal,
  ): Promise<T> {
    let isCommitting = false;
    try {
      await (lock === null ? this.begin(connection, null) : this.beginWithLock(connection, lock));
      const result = await runTransaction(script, (statement) => this.send(connection, statement), signal);
      isCommitting = true;
      await this.execute(connection, 'COMMIT');
      return result;
    } catch (error) {
      if (isCommitting && classifyDriverError(error) === 'lost') {
        this.close(connection);
        // This error is not retryable: the transaction may be committed.
        throw new Error('the connection was lost while a transaction was committed', { cause: error });
      }
      // A connection that fails to roll back must not return to the pool: its next statements would be part of this
      // transaction.
      await this.execute(connection, 'ROLLBACK').catch(() => this.close(connection));
      throw error;
    } finally {
      await this.restore(connection).catch(() => this.close(connection));
    }
  }

  /** Begins a transaction that has a lock. Creates the table of locks if it is missing. */
  private async beginWithLock(connection: Connection, lock: string): Promise<void> {
    const { take } = this.dialect.locks!;
    const begin = () => this.begin(connection, take(this.locks.name, stripeOf(lock)));
    try {
      await begin().catch(async (error: unknown) => {
        if (classifyDriverError(error) !== 'missing') throw error;
        await this.execute(connection, 'ROLLBACK');
        await this.restore(connection);
        const failure = await this.createLockTable(connection);
        // Another process may have created it at the same moment.
        await begin().catch((again: unknown) => {
          throw classifyDriverError(again) === 'missing' ? (failure ?? again) : again;
        });
      });
    } catch (error) {
      throw classifyDriverError(error) === 'unusable' ? this.lockTableError(error) : error;
    }
  }

  /** Returns the error if the table cannot be created. */
  private async createLockTable(connection: Connection): Promise<unknown> {
    const name = await this.nameOfNewLockTable(connection);
    if (name === null) return undefined;
    return this.execute(connection, this.dialect.locks!.create(name)).then(
      () => undefined,
      (error: unknown) => error,
    );
  }

  private lockTableError(error: unknown): LockTableError {
    const { path, name } = this.locks;
    return new LockTableError(
      `table ${path} cannot be created or used: ${describeError(error)}`,
      `Run the migration CreateAuthTokenLock of nestjs-expiring-token/migrations, or execute ${this.dialect.locks!.create(name)}. ` +
        'Then grant SELECT, INSERT and UPDATE on the table to the account of the application.',
    );
  }

  private readWithRetry<T>(
    work: (runner: QueryRunner, connection: Connection) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T> {
    const read = (runner: QueryRunner, connection: Connection) =>
      this.outsideTransactions(connection, () => work(runner, connection));
    return retry(() => this.withConnection(read, signal), RETRYABLE, signal);
  }

  /**
   * Runs some work that must not be part of a transaction which the application left open: a read could see the past there,
   * for example a token before its revocation, and a write would be lost. The check comes after the work, when the driver knows the
   * answer. If it fails, the connection is closed, which rolls back the transaction with the work.
   */
  protected async outsideTransactions<T>(connection: Connection, work: () => Promise<T>): Promise<T> {
    const { result, isInTransaction } = await this.observe(connection, work);
    if (isInTransaction)
      throw new LeftInTransactionError('a connection of the pool is inside a transaction, or has autocommit off');
    return result;
  }

  private warnOfSession(error: unknown): void {
    this.sessionWarning.log(
      `Closed a connection that the application had returned to the pool inside a transaction or with changed settings: ${describeError(error)}. ` +
        'The probable cause is a QueryRunner that was released without commitTransaction() or rollbackTransaction().',
    );
  }

  /** Counts one more connection that is closed because it did not respond. Returns false if the limit is reached. */
  private countClosed(): boolean {
    const now = performance.now();
    this.closedAtMs = this.closedAtMs.filter((closed) => now - closed < CLOSING_WINDOW_MS);
    if (this.closedAtMs.length >= MAX_CLOSED) return false;
    this.closedAtMs.push(now);
    return true;
  }

  /**
   * Runs some work on a connection to the primary, because a replica may lag behind. If the connection is lost, or did not
   * respond in time, or was left in a transaction, it is closed: in the pool the next request would get it.
   */
  private async withConnection<T>(
    work: (runner: QueryRunner, connection: Connection) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T> {
    signal.throwIfAborted();
    const runner = this.dataSource.createQueryRunner('master');
    const connecting = runner.connect() as Promise<Connection>;
    let connection: Connection | undefined;
    const connectAndWork = async () => {
      connection = await connecting;
      signal.throwIfAborted();
      await this.assertPrimary(connection);
      return work(runner, connection);
    };
    const release = () => runner.release().catch(() => undefined);
    const working = connectAndWork();
    try {
      return await raceAbort(signal, working);
    } catch (error) {
      const kind = classifyDriverError(error);
      if (kind === 'session') this.warnOfSession(error);
      if (connection && (UNUSABLE.includes(kind) || (signal.aborted && this.countClosed()))) {
        this.close(connection);
        void release();
      }
      throw error;
    } finally {
      // The connection is released only when the work has ended: its last statements, for example a rollback, would otherwise
      // mix with the statements of the next request.
      void working.then(release, release);
    }
  }
}

/** Sends the statements of a script to an asynchronous driver, one after another, until the signal is aborted. */
async function runTransaction<T>(
  script: TransactionScript<T>,
  send: (statement: Statement) => Promise<Result>,
  signal: AbortSignal,
): Promise<T> {
  let step = script.next();
  while (!step.done) {
    signal.throwIfAborted();
    step = script.next(await send(step.value));
  }
  signal.throwIfAborted();
  return step.value;
}
