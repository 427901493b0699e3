import { LimitedWarning } from '../errors/limited-warning.js';
import type { Result, Row } from './database.js';
import type { Statement } from './dialect.js';
import { MAX_LOCK_WAIT_SECONDS, type Observed, ServerDatabase } from './server.database.js';

/** The methods of a `mysql2` connection that this package uses. */
interface MysqlConnection {
  execute(sql: string, values: readonly unknown[], done: MysqlCallback): void;
  query(sql: string, done: MysqlCallback): void;
  destroy(): void;
  readonly stream: { destroy(): void };
  /** Every statement passes here on its way to the server. */
  addCommand?: (command: MysqlCommand) => unknown;
}

type MysqlCallback = (error: Error | null, result: Row[] | ResultHeader) => void;

/** The response to a statement without rows. */
interface ResultHeader {
  readonly affectedRows: number;
  readonly serverStatus?: number;
}

/** A statement that reads its response packet by packet. */
interface MysqlCommand {
  execute: (packet: MysqlPacket | undefined, connection: unknown) => boolean;
}

interface MysqlPacket {
  isEOF(): boolean;
  eofStatusFlags(): number;
}

/** Flags of the status that the server sends with each response. */
const IN_TRANSACTION = 1;
const AUTOCOMMIT = 2;

/** It fails inside a transaction that the application left open, which START TRANSACTION would commit. */
const SET_LEVEL = 'SET TRANSACTION ISOLATION LEVEL READ COMMITTED';

/**
 * A node of Galera applies what the others committed a moment later. A statement of any kind with this prefix waits until
 * the node has applied what was committed before. The session keeps its own setting, for the application's statements.
 */
const ON_LATEST_STATE = 'SET STATEMENT wsrep_sync_wait = 7 FOR ';

/** MySQL and MariaDB, through `mysql2`. */
export class MysqlDatabase extends ServerDatabase<MysqlConnection> {
  /** The status of the last response on each connection. */
  private readonly statuses = new WeakMap<MysqlConnection, number>();
  /** MariaDB runs several statements as one. MySQL does not, so that each of them costs a round trip. */
  private hasCompoundStatements = true;
  /** What a statement begins with that needs the latest state: nothing, unless the server is a node of Galera. */
  private readonly prefixes = new WeakMap<MysqlConnection, string>();
  private readonly syncWarning = new LimitedWarning(this.logger);

  /** The server prepares each statement, so that no value is escaped: escaping depends on the server's `sql_mode`. */
  protected send(connection: MysqlConnection, { sql, values }: Statement): Promise<Result> {
    return new Promise((resolve, reject) => {
      connection.execute(sql, values, (error, result) => {
        if (error) reject(error);
        else if (Array.isArray(result)) resolve({ rows: result, affected: 0 });
        else {
          if (result.serverStatus !== undefined) this.statuses.set(connection, result.serverStatus);
          resolve({ rows: [], affected: result.affectedRows });
        }
      });
    });
  }

  protected override async sendToLatest(connection: MysqlConnection, { sql, values }: Statement): Promise<Result> {
    return this.send(connection, { sql: (await this.latestStatePrefix(connection)) + sql, values });
  }

  protected override async catchUp(connection: MysqlConnection): Promise<void> {
    const prefix = await this.latestStatePrefix(connection);
    if (prefix) await this.execute(connection, `${prefix}SELECT 1`);
  }

  /** Asks once for each connection whether its server is a node of Galera. */
  private async latestStatePrefix(connection: MysqlConnection): Promise<string> {
    const known = this.prefixes.get(connection);
    if (known !== undefined) return known;
    const prefix = await this.askForGalera(connection);
    this.prefixes.set(connection, prefix);
    return prefix;
  }

  private async askForGalera(connection: MysqlConnection): Promise<string> {
    const sql = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'wsrep_on', 'wsrep_sync_wait')";
    const { rows } = await this.send(connection, { sql, values: [] });
    const variables = new Map(rows.map(({ Variable_name: name, Value: value }) => [name, String(value)]));
    if (variables.get('wsrep_on') !== 'ON') return '';
    if (variables.get('version')?.includes('MariaDB')) return ON_LATEST_STATE;
    if ((Number(variables.get('wsrep_sync_wait')) & 7) !== 7) {
      this.syncWarning.log(
        'This node of Galera can answer with an older state than other nodes. Set wsrep_sync_wait = 7 on each node: ' +
          'this server has no SET STATEMENT, with which the package does it on MariaDB.',
      );
    }
    return '';
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

  protected async begin(connection: MysqlConnection, takeLock: string | null): Promise<void> {
    if (this.hasCompoundStatements) {
      const limits = `innodb_lock_wait_timeout = ${MAX_LOCK_WAIT_SECONDS}, lock_wait_timeout = ${MAX_LOCK_WAIT_SECONDS}`;
      const limited = takeLock === null ? '' : `SET STATEMENT ${limits} FOR ${takeLock}; `;
      const start = `${await this.latestStatePrefix(connection)}START TRANSACTION`;
      try {
        return await this.execute(connection, `BEGIN NOT ATOMIC ${SET_LEVEL}; ${start}; ${limited}END`);
      } catch (error) {
        if ((error as { code?: unknown }).code !== 'ER_PARSE_ERROR') throw error;
        this.hasCompoundStatements = false;
      }
    }
    await this.execute(
      connection,
      'SET @expiring_token_autocommit = @@autocommit, autocommit = 0, ' +
        `@expiring_token_wait = @@innodb_lock_wait_timeout, innodb_lock_wait_timeout = ${MAX_LOCK_WAIT_SECONDS}`,
    );
    await this.execute(connection, SET_LEVEL);
    if (takeLock !== null) await this.execute(connection, takeLock);
  }

  protected override async restore(connection: MysqlConnection): Promise<void> {
    if (this.hasCompoundStatements) return;
    await this.execute(
      connection,
      'SET autocommit = @expiring_token_autocommit, innodb_lock_wait_timeout = @expiring_token_wait',
    );
  }

  /**
   * The server sends its status with each response. `mysql2` returns it for statements without rows only. Behind rows, it is in
   * the packet that ends them, which passes here while the work runs. With autocommit off each statement begins a transaction.
   */
  protected async observe<T>(connection: MysqlConnection, work: () => Promise<T>): Promise<Observed<T>> {
    const { addCommand } = connection;
    this.statuses.delete(connection);
    const noteAndAdd = (command: MysqlCommand): unknown => {
      this.noteStatus(connection, command);
      return addCommand?.call(connection, command);
    };
    if (addCommand) connection.addCommand = noteAndAdd;
    let result: T;
    try {
      result = await work();
    } finally {
      // A connection that was lost meanwhile has another method, which rejects each statement. The usual one would not respond.
      if (connection.addCommand === noteAndAdd) connection.addCommand = addCommand;
    }
    if (!this.statuses.has(connection)) await this.send(connection, { sql: 'DO 0', values: [] });
    const status = this.statuses.get(connection) ?? AUTOCOMMIT;
    return { result, isInTransaction: (status & IN_TRANSACTION) !== 0 || (status & AUTOCOMMIT) === 0 };
  }

  private noteStatus(connection: MysqlConnection, command: MysqlCommand): void {
    const { execute } = command;
    command.execute = (packet, on) => {
      if (packet?.isEOF()) this.statuses.set(connection, packet.eofStatusFlags());
      return execute.call(command, packet, on);
    };
  }
}
