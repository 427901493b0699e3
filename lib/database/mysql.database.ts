import type { DataSource } from 'typeorm';
import type { Database, Result, Row, Script, Statement } from './database.js';
import { hashLock, play, Queue } from './script.js';

/** The part of a `mysql2` connection that is used here. */
interface MysqlConnection {
  execute(sql: string, values: readonly unknown[], done: MysqlCallback): void;
  query(sql: string, done: MysqlCallback): void;
  destroy(): void;
}

type MysqlCallback = (error: Error | null, result: Row[] | { affectedRows: number }) => void;

/** Prepared by the server, so that no escaping of ours or of a driver's depends on the server's `sql_mode`. */
function send(connection: MysqlConnection, { sql, values }: Statement): Promise<Result> {
  return new Promise((resolve, reject) => {
    connection.execute(sql, values, (error, result) => {
      if (error) reject(error);
      else if (Array.isArray(result)) resolve({ rows: result, affected: 0 });
      else resolve({ rows: [], affected: result.affectedRows });
    });
  });
}

function command(connection: MysqlConnection, sql: string): Promise<void> {
  return new Promise((resolve, reject) => {
    connection.query(sql, (error) => (error ? reject(error) : resolve()));
  });
}

/** MySQL and MariaDB, through `mysql2`. */
export class MysqlDatabase implements Database {
  private readonly queue = new Queue();

  constructor(private readonly dataSource: DataSource) {}

  run(statement: Statement): Promise<Result> {
    return this.withConnection((connection) => send(connection, statement));
  }

  transaction<T>(lock: string, script: () => Script<T>, signal: AbortSignal): Promise<T> {
    // At most 64 characters, and the same for every database of the server.
    const name = hashLock(lock).toString('base64url');
    return this.queue.run(lock, async () => {
      signal.throwIfAborted();
      return this.withConnection(async (connection) => {
        try {
          await this.lock(connection, name, signal);
          await command(connection, 'START TRANSACTION');
          const result = await play(script(), (statement) => send(connection, statement), signal);
          await command(connection, 'COMMIT');
          await send(connection, { sql: 'DO RELEASE_LOCK(?)', values: [name] });
          return result;
        } catch (error) {
          // The server ends the transaction and the lock of a closed connection. A pooled one would keep the lock.
          connection.destroy();
          throw error;
        }
      });
    });
  }

  /** Waits for the lock a second at a time, so that an abandoned request soon stops waiting. */
  private async lock(connection: MysqlConnection, name: string, signal: AbortSignal): Promise<void> {
    for (;;) {
      signal.throwIfAborted();
      const { rows } = await send(connection, { sql: 'SELECT GET_LOCK(?, 1) AS locked', values: [name] });
      if (Number(rows[0]?.locked) === 1) return;
    }
  }

  private async withConnection<T>(use: (connection: MysqlConnection) => Promise<T>): Promise<T> {
    const runner = this.dataSource.createQueryRunner('master');
    try {
      return await use((await runner.connect()) as MysqlConnection);
    } finally {
      await runner.release();
    }
  }
}
