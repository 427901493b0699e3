import type { DataSource } from 'typeorm';
import type { Database, Result, Row, Script, Statement } from './database.js';
import { hashLock, play, Queue } from './script.js';

/** The part of a `pg` client that is used here. */
interface PostgresClient {
  query(sql: string, values?: readonly unknown[]): Promise<{ rows: Row[]; rowCount: number | null }>;
}

async function send(client: PostgresClient, { sql, values }: Statement): Promise<Result> {
  let position = 0;
  const { rows, rowCount } = await client.query(
    sql.replaceAll('?', () => `$${++position}`),
    values,
  );
  return { rows, affected: rowCount ?? 0 };
}

/** PostgreSQL, through `pg`. */
export class PostgresDatabase implements Database {
  private readonly queue = new Queue();

  constructor(private readonly dataSource: DataSource) {}

  run(statement: Statement): Promise<Result> {
    return this.withClient((client) => send(client, statement));
  }

  transaction<T>(lock: string, script: () => Script<T>, signal: AbortSignal): Promise<T> {
    const key = hashLock(lock).readBigInt64BE();
    return this.queue.run(lock, async () => {
      signal.throwIfAborted();
      return this.withClient(async (client) => {
        try {
          await client.query(`BEGIN; SELECT pg_advisory_xact_lock(${key})`);
          const result = await play(script(), (statement) => send(client, statement), signal);
          await client.query('COMMIT');
          return result;
        } catch (error) {
          // A connection that cannot even roll back is closed by the server, which rolls back by itself.
          await client.query('ROLLBACK').catch(() => undefined);
          throw error;
        }
      });
    });
  }

  private async withClient<T>(use: (client: PostgresClient) => Promise<T>): Promise<T> {
    const runner = this.dataSource.createQueryRunner('master');
    try {
      return await use((await runner.connect()) as PostgresClient);
    } finally {
      await runner.release();
    }
  }
}
