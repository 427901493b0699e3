import type { DataSource } from 'typeorm';
import type { Database, Result, Row, Script, Statement } from './database.js';
import { isConflict, retrying } from './driver-errors.js';
import { hashLock, play, Queue, withConnection, writeAlone } from './server.js';

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
  readonly largestBatch = Infinity;
  private readonly queue = new Queue();

  constructor(private readonly dataSource: DataSource) {}

  async read(statement: Statement): Promise<Row[]> {
    return (await withConnection(this.dataSource, (connection: MysqlConnection) => send(connection, statement))).rows;
  }

  write(statement: Statement, signal: AbortSignal): Promise<number> {
    return writeAlone(this.dataSource, send, statement, signal);
  }

  transaction<T>(lock: string, script: () => Script<T>, signal: AbortSignal): Promise<T> {
    // At most 64 characters, and the same for every database of the server.
    const name = hashLock(lock).toString('base64url');
    const transact = async (connection: MysqlConnection) => {
      signal.throwIfAborted();
      try {
        await waitForLock(connection, name, signal);
        // Statements over a user's rows would lock the gaps beside them too, and users would wait for each other in circles.
        await command(connection, 'SET TRANSACTION ISOLATION LEVEL READ COMMITTED');
        await command(connection, 'START TRANSACTION');
        const result = await play(script(), (statement) => send(connection, statement), signal);
        await command(connection, 'COMMIT');
        return result;
      } catch (error) {
        await command(connection, 'ROLLBACK').catch(() => connection.destroy());
        throw error;
      } finally {
        // The lock belongs to the connection: in the pool it would be kept, closed it is free.
        await send(connection, { sql: 'DO RELEASE_LOCK(?)', values: [name] }).catch(() => connection.destroy());
      }
    };
    return this.queue.run(lock, () => retrying(() => withConnection(this.dataSource, transact), isConflict));
  }
}

/** Waits a second at a time, so that an abandoned request soon stops waiting. */
async function waitForLock(connection: MysqlConnection, name: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    const { rows } = await send(connection, { sql: 'SELECT GET_LOCK(?, 1) AS locked', values: [name] });
    if (Number(rows[0]?.locked) === 1) return;
  }
}
