import { createHash } from 'node:crypto';
import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import { raceAbort } from '../async/with-timeout.js';
import type {
  ComparedColumn,
  Database,
  Join,
  Result,
  Row,
  TransactionScript,
  AliasedTable,
  SqlValue,
  Statement,
} from './database.js';
import { type DriverErrorKind, classifyDriverError } from '../errors/driver-errors.js';
import { retry } from '../async/retry.js';
import { KeyedQueue } from '../async/keyed-queue.js';

/** What another try can get over, as long as nothing was committed. */
const RETRYABLE: readonly DriverErrorKind[] = ['conflict', 'lost'];

/**
 * Connections that are closed within ten minutes because they did not answer: enough to empty a pool whose server is gone,
 * and not so many that a server which only waits for a lock, and goes on waiting for each, runs out of them.
 */
const MAX_CLOSED = 20;
const CLOSING_WINDOW_MS = 600_000;

/** A database server, reached over the connections of the data source's pool. */
export abstract class ServerDatabase<Connection> implements Database {
  onTransactionEnd: Database['onTransactionEnd'] = async () => undefined;
  abstract readonly seesOrderBehindNull: boolean;
  private readonly queue = new KeyedQueue();
  private closedAtMs: number[] = [];

  constructor(protected readonly dataSource: DataSource) {}

  async read(statement: Statement, signal: AbortSignal): Promise<Row[]> {
    const send = (connection: Connection) => this.send(connection, statement);
    return (await this.reading((_, connection) => send(connection), signal)).rows;
  }

  readEntities<T>(use: (manager: EntityManager) => Promise<T>, signal: AbortSignal): Promise<T> {
    return this.reading(({ manager }) => use(manager), signal);
  }

  async write(statement: Statement, signal: AbortSignal): Promise<number> {
    const send = () => this.lend(async (_, connection) => this.send(connection, statement), signal);
    // Whether a statement whose connection was lost was done is not known.
    return (await retry(send, ['conflict'], signal)).affected;
  }

  async transaction<T>(lock: string, script: () => TransactionScript<T>, signal: AbortSignal): Promise<T> {
    const transact = () => this.lend((_, connection) => this.transact(connection, lock, script(), signal), signal);
    try {
      return await this.queue.run(lock, () => retry(transact, RETRYABLE, signal));
    } finally {
      await this.onTransactionEnd(lock);
    }
  }

  /** So does it this. */
  checkpoint(): void {}

  abstract readonly columnTypesDecodedDifferently: readonly string[];

  abstract anyOf(column: string, values: readonly SqlValue[]): Statement;

  abstract leftJoin(selected: AliasedTable, condition: string): Join;

  abstract castText(text: string, column: ComparedColumn): string | null;

  protected abstract send(connection: Connection, statement: Statement): Promise<Result>;

  /** Does a command without values. */
  protected abstract command(connection: Connection, sql: string): Promise<unknown>;

  /** Ends a connection, whatever it waits for. */
  protected abstract close(connection: Connection): void;

  /** Takes a lock, and begins a transaction whose every statement sees what was committed while the lock was waited for. */
  protected abstract begin(connection: Connection, lock: string, signal: AbortSignal): Promise<void>;

  /** Gives a lock back that outlives the transaction. */
  protected async unlock(_connection: Connection, _lock: string): Promise<void> {}

  private async transact<T>(
    connection: Connection,
    lock: string,
    script: TransactionScript<T>,
    signal: AbortSignal,
  ): Promise<T> {
    let committing = false;
    try {
      await this.begin(connection, lock, signal);
      const result = await runTransaction(script, (statement) => this.send(connection, statement), signal);
      committing = true;
      await this.command(connection, 'COMMIT');
      return result;
    } catch (error) {
      if (committing && classifyDriverError(error) === 'lost') {
        this.close(connection);
        // Not to be tried again: it may be done.
        throw new Error('the connection was lost while a transaction was committed', { cause: error });
      }
      // In the pool, a connection that cannot roll back would make others' statements part of this transaction.
      await this.command(connection, 'ROLLBACK').catch(() => this.close(connection));
      throw error;
    } finally {
      // In the pool the lock would be kept; closed, the connection has none.
      await this.unlock(connection, lock).catch(() => this.close(connection));
    }
  }

  private reading<T>(
    use: (runner: QueryRunner, connection: Connection) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T> {
    return retry(() => this.lend(use, signal), RETRYABLE, signal);
  }

  /** Whether one more connection may be closed because it did not answer. */
  private mayClose(): boolean {
    const now = performance.now();
    this.closedAtMs = this.closedAtMs.filter((closed) => now - closed < CLOSING_WINDOW_MS);
    if (this.closedAtMs.length >= MAX_CLOSED) return false;
    this.closedAtMs.push(now);
    return true;
  }

  /**
   * Lends a connection to the primary, which knows what a replica may not know yet. One that is lost, or did not answer in
   * time, is closed: in the pool the next request would get it.
   */
  private async lend<T>(
    use: (runner: QueryRunner, connection: Connection) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T> {
    signal.throwIfAborted();
    const runner = this.dataSource.createQueryRunner('master');
    const connecting = runner.connect() as Promise<Connection>;
    let connection: Connection | undefined;
    const work = async () => {
      connection = await connecting;
      signal.throwIfAborted();
      return use(runner, connection);
    };
    const release = () => runner.release().catch(() => undefined);
    const working = work();
    try {
      return await raceAbort(signal, working);
    } catch (error) {
      if (connection && (classifyDriverError(error) === 'lost' || (signal.aborted && this.mayClose()))) {
        this.close(connection);
        void release();
      }
      throw error;
    } finally {
      // Not before: what is still to come of this work, a rollback say, would be part of what the next one does.
      void working.then(release, release);
    }
  }
}

/** Walks an asynchronous driver through a script, as long as somebody waits for it. */
async function runTransaction<T>(
  script: TransactionScript<T>,
  run: (statement: Statement) => Promise<Result>,
  signal: AbortSignal,
): Promise<T> {
  let step = script.next();
  while (!step.done) {
    signal.throwIfAborted();
    step = script.next(await run(step.value));
  }
  signal.throwIfAborted();
  return step.value;
}

/** A lock's name as a number of bits that any server's advisory locks can hold. */
export const hashLock = (lock: string): Buffer => createHash('sha256').update(`nestjs-expiring-token:${lock}`).digest();
