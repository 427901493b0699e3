import {
  type ComparedColumn,
  anyOfList,
  joinOn,
  type Result,
  type Row,
  type SqlValue,
  type Statement,
} from './database.js';
import { hashLock, ServerDatabase } from './server.database.js';

/** The part of a `mysql2` connection that is used here. */
interface MysqlConnection {
  execute(sql: string, values: readonly unknown[], done: MysqlCallback): void;
  query(sql: string, done: MysqlCallback): void;
  destroy(): void;
  readonly stream: { destroy(): void };
}

type MysqlCallback = (error: Error | null, result: Row[] | { affectedRows: number }) => void;

const INTEGERS = ['tinyint', 'smallint', 'mediumint', 'int', 'bigint'];

/** At most 64 characters, and the same for every database of the server. */
const nameOf = (lock: string): string => hashLock(lock).toString('base64url');

/** MySQL and MariaDB, through `mysql2`. */
export class MysqlDatabase extends ServerDatabase<MysqlConnection> {
  readonly seesOrderBehindNull = true;
  /** From a prepared statement they come as other texts and numbers than from the statements of TypeORM. */
  readonly columnTypesDecodedDifferently = ['float', 'time'];
  readonly leftJoin = joinOn;

  anyOf(column: string, values: readonly SqlValue[]): Statement {
    return anyOfList(column, values);
  }

  castText(text: string, column: ComparedColumn): string | null {
    if (column.transformer) return null;
    const type = this.dataSource.driver.normalizeType(column);
    if (INTEGERS.includes(type)) return `CAST(${text} AS ${column.unsigned ? 'UNSIGNED' : 'SIGNED'})`;
    // In the character set and the collation of a text column, or no index of its would be used.
    const { charset, collation } = column;
    const isKnown = type === 'varchar' && charset !== undefined && collation !== undefined;
    return isKnown ? `CONVERT(${text} USING ${charset}) COLLATE ${collation}` : null;
  }

  /** Prepared by the server, so that no escaping of ours or of a driver's depends on the server's `sql_mode`. */
  protected send(connection: MysqlConnection, { sql, values }: Statement): Promise<Result> {
    return new Promise((resolve, reject) => {
      connection.execute(sql, values, (error, result) => {
        if (error) reject(error);
        else if (Array.isArray(result)) resolve({ rows: result, affected: 0 });
        else resolve({ rows: [], affected: result.affectedRows });
      });
    });
  }

  protected command(connection: MysqlConnection, sql: string): Promise<void> {
    return new Promise((resolve, reject) => {
      connection.query(sql, (error) => (error ? reject(error) : resolve()));
    });
  }

  protected close(connection: MysqlConnection): void {
    connection.destroy();
    // It only says goodbye, to a server that may not hear.
    connection.stream.destroy();
  }

  protected async begin(connection: MysqlConnection, lock: string, signal: AbortSignal): Promise<void> {
    let locked = false;
    while (!locked) {
      signal.throwIfAborted();
      // A second at a time: the server goes on waiting for a connection that is gone.
      const { rows } = await this.send(connection, { sql: 'SELECT GET_LOCK(?, 1) AS locked', values: [nameOf(lock)] });
      locked = Number(rows[0]?.locked) === 1;
    }
    // Statements over a user's rows would lock the gaps beside them too, and users would wait for each other in circles.
    await this.command(connection, 'SET TRANSACTION ISOLATION LEVEL READ COMMITTED');
    await this.command(connection, 'START TRANSACTION');
  }

  protected override async unlock(connection: MysqlConnection, lock: string): Promise<void> {
    await this.send(connection, { sql: 'DO RELEASE_LOCK(?)', values: [nameOf(lock)] });
  }
}
