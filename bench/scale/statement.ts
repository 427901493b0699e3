import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { ExpiringTokenModule, ExpiringTokenService, UserService } from 'nestjs-expiring-token';
import { DataSource, type DataSourceOptions } from 'typeorm';

/** A statement as the package passes it to the driver. */
export interface SentStatement {
  sql: string;
  /** Name of a prepared statement; PostgreSQL only. */
  name?: string;
  values: readonly unknown[];
}

type Recorder = (statement: SentStatement) => void;

/** The driver methods that receive statements. */
interface Connection {
  query(statement: string | { text: string; name?: string; values: readonly unknown[] }, ...more: unknown[]): unknown;
  /** `mysql2` only. */
  execute?(sql: string, values: readonly unknown[], ...more: unknown[]): unknown;
}

interface SqliteHandle {
  prepare(sql: string): { all(values: readonly unknown[]): unknown };
}

interface Driver {
  obtainMasterConnection?(): Promise<Connection | [Connection, unknown]>;
  databaseConnection?: SqliteHandle;
}

function recordConnection(connection: Connection, record: Recorder): void {
  const query = connection.query.bind(connection);
  connection.query = (statement, ...more) => {
    if (typeof statement === 'string') record({ sql: statement, values: [] });
    else record({ sql: statement.text, name: statement.name, values: statement.values });
    return query(statement, ...more);
  };
  const execute = connection.execute?.bind(connection);
  if (!execute) return;
  connection.execute = (sql, values, ...more) => {
    record({ sql, values });
    return execute(sql, values, ...more);
  };
}

function recordHandle(handle: SqliteHandle, record: Recorder): void {
  const prepare = handle.prepare.bind(handle);
  handle.prepare = (sql) => {
    const statement = prepare(sql);
    const all = statement.all.bind(statement);
    statement.all = (values) => {
      record({ sql, values });
      return all(values);
    };
    return statement;
  };
}

/** Calls a function with each statement that the package passes to the driver of a data source. */
export function recordStatements(dataSource: DataSource, record: Recorder): void {
  const driver = dataSource.driver as unknown as Driver;
  if (driver.databaseConnection) return recordHandle(driver.databaseConnection, record);
  const obtain = driver.obtainMasterConnection!.bind(driver);
  const recorded = new WeakSet<Connection>();
  driver.obtainMasterConnection = async () => {
    const obtained = await obtain();
    const connection = Array.isArray(obtained) ? obtained[0] : obtained;
    if (!recorded.has(connection)) recordConnection(connection, record);
    recorded.add(connection);
    return obtained;
  };
}

/** The look-up statement of the package: recorded from the driver while the package authenticates a token. */
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
    recordStatements(app.get(DataSource), (statement) => sent.push(statement));
    await app.init();
    const tokens = app.get(ExpiringTokenService);
    const { id } = await app.get(UserService).create('look-up-user', null);
    const { plainText } = await tokens.issue(id);
    sent.length = 0;
    await tokens.authenticate(plainText);
    const lookUps = sent.filter(({ sql }) => /^\s*SELECT\b.*auth_token/is.test(sql));
    if (lookUps.length !== 1) throw new Error(`expected one look-up statement, got ${lookUps.length}`);
    await app.get(UserService).delete(id);
    return lookUps[0]!;
  } finally {
    await app.close();
  }
}
