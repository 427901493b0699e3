import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { ExpiringTokenModule, ExpiringTokenService, UserService } from 'nestjs-expiring-token';
import { DataSource, type DataSourceOptions } from 'typeorm';

/** A statement as the package gives it to the driver. */
export interface SentStatement {
  sql: string;
  /** Of a prepared statement of PostgreSQL. */
  name?: string;
  values: readonly unknown[];
}

type Note = (statement: SentStatement) => void;

/** The parts of the drivers that statements pass. */
interface Connection {
  query(statement: string | { text: string; name?: string; values: readonly unknown[] }, ...more: unknown[]): unknown;
  /** Of `mysql2` alone. */
  execute?(sql: string, values: readonly unknown[], ...more: unknown[]): unknown;
}

interface SqliteHandle {
  prepare(sql: string): { all(values: readonly unknown[]): unknown };
}

interface Driver {
  obtainMasterConnection?(): Promise<Connection | [Connection, unknown]>;
  databaseConnection?: SqliteHandle;
}

function listenToConnection(connection: Connection, note: Note): void {
  const query = connection.query.bind(connection);
  connection.query = (statement, ...more) => {
    if (typeof statement !== 'string') note({ sql: statement.text, name: statement.name, values: statement.values });
    return query(statement, ...more);
  };
  const execute = connection.execute?.bind(connection);
  if (!execute) return;
  connection.execute = (sql, values, ...more) => {
    note({ sql, values });
    return execute(sql, values, ...more);
  };
}

function listenToHandle(handle: SqliteHandle, note: Note): void {
  const prepare = handle.prepare.bind(handle);
  handle.prepare = (sql) => {
    const statement = prepare(sql);
    const all = statement.all.bind(statement);
    statement.all = (values) => {
      note({ sql, values });
      return all(values);
    };
    return statement;
  };
}

function listenTo(driver: Driver, note: Note): void {
  if (driver.databaseConnection) return listenToHandle(driver.databaseConnection, note);
  const obtain = driver.obtainMasterConnection!.bind(driver);
  const heard = new WeakSet<Connection>();
  driver.obtainMasterConnection = async () => {
    const obtained = await obtain();
    const connection = Array.isArray(obtained) ? obtained[0] : obtained;
    if (!heard.has(connection)) listenToConnection(connection, note);
    heard.add(connection);
    return obtained;
  };
}

/** The statement that the package looks a token up with: what it sends when it authenticates one. */
export async function lookUpStatement(options: DataSourceOptions): Promise<SentStatement> {
  @Module({
    imports: [
      TypeOrmModule.forRoot({ ...options, autoLoadEntities: true }),
      ExpiringTokenModule.forRoot({ prune: false, lastUsedAccuracy: '1d' }),
    ],
  })
  class ApplicationModule {}

  const app = await NestFactory.create(ApplicationModule, { logger: ['error'], abortOnError: false });
  try {
    const sent: SentStatement[] = [];
    listenTo(app.get<{ driver: Driver }>(DataSource).driver, (statement) => sent.push(statement));
    await app.init();
    const tokens = app.get(ExpiringTokenService);
    const { id } = await app.get(UserService).create('somebody', null);
    const { plainText } = await tokens.issue(id);
    sent.length = 0;
    await tokens.authenticate(plainText);
    const lookUps = sent.filter(({ sql }) => /^\s*SELECT\b.*auth_token/is.test(sql));
    if (lookUps.length !== 1) throw new Error(`a token is looked up by ${lookUps.length} statements`);
    await app.get(UserService).delete(id);
    return lookUps[0]!;
  } finally {
    await app.close();
  }
}
