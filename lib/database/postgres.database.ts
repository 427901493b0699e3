import { createHash } from 'node:crypto';
import type { EventEmitter } from 'node:events';
import type { DataSource } from 'typeorm';
import { describeError } from '../errors/describe-error.js';
import { LeftInTransactionError, ReplicaError } from '../errors/driver-errors.js';
import type { Result, Row } from './database.js';
import type { Dialect, Statement } from './dialect.js';
import type { LockTable } from './lock-table.js';
import { MAX_LOCK_WAIT_SECONDS, type Observed, ServerDatabase } from './server.database.js';

/** The methods of a `pg` client that this package uses. */
interface PostgresClient {
  query(statement: string | PreparedStatement): Promise<{ rows: Row[]; rowCount: number | null }>;
  end(): Promise<void>;
  /** Since `pg` 8.21: I outside of transactions, T inside, E inside one that an error aborted. */
  getTransactionStatus?(): unknown;
  /** The process of the server, as it was said when the connection was made. */
  readonly processID?: number | null;
  /** Emits the same status after each statement. A client over `libpq` has none. */
  readonly connection?: EventEmitter;
}

interface PreparedStatement {
  name?: string;
  text: string;
  values: readonly unknown[];
}

/** Codes of the errors for a prepared statement that is missing, or different from what was prepared. */
const STALE_STATEMENT_CODES = ['0A000', '26000', '42P05'];

/** PostgreSQL, through `pg`. */
export class PostgresDatabase extends ServerDatabase<PostgresClient> {
  private readonly statements = new Map<string, { name: string; text: string }>();
  /** False behind a pooler that may use another connection for each statement: prepared statements are lost there. */
  private usesPreparedStatements = true;
  private readonly toPrimary = new WeakSet<PostgresClient>();

  constructor(dataSource: DataSource, dialect: Dialect, locks: LockTable) {
    super(dataSource, dialect, locks);
    const { master } = dataSource.driver as unknown as { master?: EventEmitter };
    // TypeORM adds its listener a moment after a connection is made. If the server ended the connection before that, the
    // event `error` without a listener would end the process.
    master?.on('connect', (client: EventEmitter) => client.on('error', () => undefined));
  }

  /** PostgreSQL plans a statement with a name once for each connection, and a statement without a name each time. */
  protected async send(client: PostgresClient, { sql, values }: Statement): Promise<Result> {
    const { name, text } = this.prepare(sql);
    const { usesPreparedStatements } = this;
    try {
      const { rows, rowCount } = await client.query(usesPreparedStatements ? { name, text, values } : { text, values });
      return { rows, affected: rowCount ?? 0 };
    } catch (error) {
      if (this.usesPreparedStatements && STALE_STATEMENT_CODES.includes((error as { code: string }).code)) {
        this.usesPreparedStatements = false;
        this.logger.warn(
          `PostgreSQL keeps no prepared statements, so it plans each one every time: ${describeError(error)}`,
        );
      }
      throw error;
    }
  }

  private prepare(sql: string): { name: string; text: string } {
    const known = this.statements.get(sql);
    if (known) return known;
    let position = 0;
    const text = sql.replaceAll('?', () => `$${++position}`);
    const name = `expiring-token:${createHash('sha256').update(sql).digest('base64url')}`;
    const prepared = { name, text };
    this.statements.set(sql, prepared);
    return prepared;
  }

  /**
   * Once for each connection, because a primary becomes a replica by a restart only, which ends its connections. Behind a pooler
   * each time: there another server can take over the connection, and its process is not the one that the pooler named.
   */
  protected override async assertPrimary(client: PostgresClient): Promise<void> {
    if (this.toPrimary.has(client)) return;
    const { rows } = await client.query('SELECT pg_is_in_recovery() AS is_replica, pg_backend_pid() AS process');
    if (rows[0]?.is_replica === true) throw new ReplicaError();
    if (rows[0]?.process === client.processID) this.toPrimary.add(client);
  }

  protected execute(client: PostgresClient, sql: string): Promise<unknown> {
    return client.query(sql);
  }

  protected close(client: PostgresClient): void {
    void client.end().catch(() => undefined);
  }

  protected async begin(client: PostgresClient, takeLock: string | null): Promise<void> {
    const begin = `BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '${MAX_LOCK_WAIT_SECONDS}s'`;
    // Inside a transaction BEGIN is only a warning. That transaction began before the statement did.
    const check = takeLock === null ? `SELECT ${HAS_JUST_BEGUN}` : `${takeLock} RETURNING ${HAS_JUST_BEGUN}`;
    if (!hasJustBegun(await client.query(`${begin}; ${check}`))) {
      throw new LeftInTransactionError('a transaction began inside another one');
    }
  }

  /** Beside the table of tokens, whatever the search path of the account that creates it. */
  protected override async nameOfNewLockTable(client: PostgresClient): Promise<string | null> {
    const { rows } = await this.send(client, {
      sql: 'SELECT nspname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE pg_class.oid = to_regclass(?::text)',
      values: [this.locks.tokenTable],
    });
    return rows[0] ? this.locks.in(String(rows[0].nspname)) : null;
  }

  protected async observe<T>(client: PostgresClient, work: () => Promise<T>): Promise<Observed<T>> {
    if (client.getTransactionStatus) {
      const result = await work();
      return { result, isInTransaction: await this.isInTransaction(client, statusOf(client)) };
    }
    let status: unknown;
    const note = (message: { status?: unknown }) => (status = message.status);
    client.connection?.on('readyForQuery', note);
    try {
      const result = await work();
      return { result, isInTransaction: await this.isInTransaction(client, status) };
    } finally {
      client.connection?.off('readyForQuery', note);
    }
  }

  /** @param status - what the driver says; a driver that does not know it costs a statement */
  private async isInTransaction(client: PostgresClient, status: unknown): Promise<boolean> {
    if (status === 'I') return false;
    if (status === 'T' || status === 'E') return true;
    return !hasJustBegun(await client.query(`SELECT ${HAS_JUST_BEGUN}`));
  }
}

/** True if the transaction began with the statement that asks. It must have no values, because a value is sent apart. */
const HAS_JUST_BEGUN = 'now() = statement_timestamp() AS has_just_begun';

type QueryResult = { rows: Row[] };

/** @param results - of one statement, or of several, of which the last one asked */
const hasJustBegun = (results: QueryResult | QueryResult[]): boolean =>
  [results].flat().at(-1)?.rows[0]?.has_just_begun === true;

/** Over `libpq`, an old `pg-native` lacks what the method needs. */
function statusOf(client: PostgresClient): unknown {
  try {
    return client.getTransactionStatus?.();
  } catch {
    return undefined;
  }
}
