import type { Result, Row } from './database.js';
import type { Statement } from './dialect.js';
import { hashLock, ServerDatabase } from './server.database.js';

/** The methods of a `mysql2` connection that this package uses. */
interface MysqlConnection {
  execute(sql: string, values: readonly unknown[], done: MysqlCallback): void;
  query(sql: string, done: MysqlCallback): void;
  destroy(): void;
  readonly stream: { destroy(): void };
}

type MysqlCallback = (error: Error | null, result: Row[] | { affectedRows: number }) => void;

/** At most 64 characters. The databases of a server share their locks. */
const lockName = (lock: string): string => hashLock(lock).toString('base64url');

/** MySQL and MariaDB, through `mysql2`. */
export class MysqlDatabase extends ServerDatabase<MysqlConnection> {
  /** The server prepares each statement, so that no value is escaped: escaping depends on the server's `sql_mode`. */
  protected send(connection: MysqlConnection, { sql, values }: Statement): Promise<Result> {
    return new Promise((resolve, reject) => {
      connection.execute(sql, values, (error, result) => {
        if (error) reject(error);
        else if (Array.isArray(result)) resolve({ rows: result, affected: 0 });
        else resolve({ rows: [], affected: result.affectedRows });
      });
    });
  }

  protected execute(connection: MysqlConnection, sql: string): Promise<void> {
    return new Promise((resolve, reject) => {
      connection.query(sql, (error) => (error ? reject(error) : resolve()));
    });
  }

  protected close(connection: MysqlConnection): void {
    connection.destroy();
    // `destroy` of the connection only sends a farewell, which a server that does not respond never reads.
    connection.stream.destroy();
  }

  protected async begin(connection: MysqlConnection, lock: string, signal: AbortSignal): Promise<void> {
    let isLocked = false;
    while (!isLocked) {
      signal.throwIfAborted();
      // One second at a time, because the server continues to wait on behalf of a connection that is closed.
      const { rows } = await this.send(connection, {
        sql: 'SELECT GET_LOCK(?, 1) AS locked',
        values: [lockName(lock)],
      });
      isLocked = Number(rows[0]?.locked) === 1;
    }
    // A stricter level also locks the gaps beside a user's rows, and transactions of different users would deadlock.
    await this.execute(connection, 'SET TRANSACTION ISOLATION LEVEL READ COMMITTED');
    await this.execute(connection, 'START TRANSACTION');
  }

  protected override async unlock(connection: MysqlConnection, lock: string): Promise<void> {
    await this.send(connection, { sql: 'DO RELEASE_LOCK(?)', values: [lockName(lock)] });
  }
}
