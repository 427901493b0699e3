import type { DataSource } from 'typeorm';
import type { Database, Result, Row, Script, Statement } from './database.js';
import { isConflict, retrying } from './driver-errors.js';
import { hashLock, play, Queue, withConnection, writeAlone } from './server.js';

/** The part of a `pg` client that is used here. */
interface PostgresClient {
  query(sql: string, values?: readonly unknown[]): Promise<{ rows: Row[]; rowCount: number | null }>;
  end(): Promise<void>;
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
  readonly largestBatch = Infinity;
  private readonly queue = new Queue();

  constructor(private readonly dataSource: DataSource) {}

  async read(statement: Statement): Promise<Row[]> {
    return (await withConnection(this.dataSource, (client: PostgresClient) => send(client, statement))).rows;
  }

  write(statement: Statement, signal: AbortSignal): Promise<number> {
    return writeAlone(this.dataSource, send, statement, signal);
  }

  transaction<T>(lock: string, script: () => Script<T>, signal: AbortSignal): Promise<T> {
    const key = hashLock(lock).readBigInt64BE();
    const transact = async (client: PostgresClient) => {
      signal.throwIfAborted();
      try {
        // Every statement must see what was committed while this one waited for the lock.
        await client.query(`BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock(${key})`);
        const result = await play(script(), (statement) => send(client, statement), signal);
        await client.query('COMMIT');
        return result;
      } catch (error) {
        // In the pool, a connection that cannot roll back would make others' statements part of this transaction.
        await client.query('ROLLBACK').catch(() => client.end());
        throw error;
      }
    };
    return this.queue.run(lock, () => retrying(() => withConnection(this.dataSource, transact), isConflict));
  }
}
