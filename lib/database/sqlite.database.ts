import { setTimeout as wait } from 'node:timers/promises';
import type { DataSource } from 'typeorm';
import type { Database, Result, Row, Script, Statement } from './database.js';

/** How often to look whether the application's transaction has ended. */
const POLL_MS = 1;

/** The part of a `better-sqlite3` database that is used here. */
interface SqliteHandle {
  readonly inTransaction: boolean;
  exec(sql: string): void;
  prepare(sql: string): {
    readonly reader: boolean;
    all(values: readonly unknown[]): Row[];
    run(values: readonly unknown[]): { changes: number };
  };
}

/** SQLite, through `better-sqlite3` or a driver with the same interface. */
export class SqliteDatabase implements Database {
  constructor(private readonly dataSource: DataSource) {}

  async read(statement: Statement): Promise<Row[]> {
    return this.send(statement).rows;
  }

  transaction<T>(_lock: string, script: () => Script<T>, signal: AbortSignal): Promise<T> {
    return this.whenIdle(signal, () => {
      this.handle.exec('BEGIN IMMEDIATE');
      try {
        const statements = script();
        let step = statements.next();
        while (!step.done) step = statements.next(this.send(step.value));
        this.handle.exec('COMMIT');
        return step.value;
      } catch (error) {
        if (this.handle.inTransaction) this.handle.exec('ROLLBACK');
        throw error;
      }
    });
  }

  private send({ sql, values }: Statement): Result {
    const statement = this.handle.prepare(sql);
    return statement.reader
      ? { rows: statement.all(values), affected: 0 }
      : { rows: [], affected: statement.run(values).changes };
  }

  /**
   * Writes outside of any transaction that the application has open on the shared connection: what was written within it
   * would be lost, after it was answered, if the application rolled back. Nothing may be awaited between the look and the
   * work, or the application begins a transaction there.
   */
  private async whenIdle<T>(signal: AbortSignal, work: () => T): Promise<T> {
    for (;;) {
      signal.throwIfAborted();
      if (!this.handle.inTransaction) return work();
      await wait(POLL_MS);
    }
  }

  /** The connection that TypeORM has open at present. */
  private get handle(): SqliteHandle {
    return (this.dataSource.driver as unknown as { databaseConnection: SqliteHandle }).databaseConnection;
  }
}
