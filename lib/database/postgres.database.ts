import type { EventEmitter } from 'node:events';
import type { DataSource } from 'typeorm';
import type { Result, Row, Statement } from './database.js';
import { hashLock, ServerDatabase } from './server.database.js';

/** The part of a `pg` client that is used here. */
interface PostgresClient {
  query(sql: string, values?: readonly unknown[]): Promise<{ rows: Row[]; rowCount: number | null }>;
  end(): Promise<void>;
}

/** PostgreSQL, through `pg`. */
export class PostgresDatabase extends ServerDatabase<PostgresClient> {
  readonly seesOrderBehindNull = false;

  constructor(dataSource: DataSource) {
    super(dataSource);
    const { master } = dataSource.driver as unknown as { master?: EventEmitter };
    // TypeORM listens a moment after a connection is made. One that the server ended before would end the process.
    master?.on('connect', (client: EventEmitter) => client.on('error', () => undefined));
  }

  protected async send(client: PostgresClient, { sql, values }: Statement): Promise<Result> {
    let position = 0;
    const { rows, rowCount } = await client.query(
      sql.replaceAll('?', () => `$${++position}`),
      values,
    );
    return { rows, affected: rowCount ?? 0 };
  }

  protected command(client: PostgresClient, sql: string): Promise<unknown> {
    return client.query(sql);
  }

  protected close(client: PostgresClient): void {
    void client.end().catch(() => undefined);
  }

  protected async begin(client: PostgresClient, lock: string): Promise<void> {
    const key = hashLock(lock).readBigInt64BE();
    await client.query(`BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock(${key})`);
  }
}
