import type { DataSource } from 'typeorm';
import type { Database, Result, Row, Script, Statement } from './database.js';
import { hashLock, play, Queue, withConnection } from './server.js';

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

  run(statement: Statement, signal: AbortSignal): Promise<Result> {
    return withConnection(this.dataSource, signal, (client: PostgresClient) => send(client, statement));
  }

  transaction<T>(lock: string, script: () => Script<T>, signal: AbortSignal): Promise<T> {
    const key = hashLock(lock).readBigInt64BE();
    const transact = async (client: PostgresClient) => {
      try {
        await client.query(`BEGIN; SELECT pg_advisory_xact_lock(${key})`);
        const result = await play(script(), (statement) => send(client, statement), signal);
        await client.query('COMMIT');
        return result;
      } catch (error) {
        // A connection that cannot even roll back is gone, and the server has rolled back.
        await client.query('ROLLBACK').catch(() => undefined);
        throw error;
      }
    };
    return this.queue.run(lock, () => withConnection(this.dataSource, signal, transact));
  }
}
