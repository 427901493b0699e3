import type { DataSourceOptions } from 'typeorm';
import type { DatabaseName } from './fill.js';
import type { SentStatement } from './statement.js';

/** A connection that queries a database directly through its driver, with statements that stay prepared. */
export interface PreparedConnection {
  query(statement: SentStatement, values: readonly unknown[]): unknown;
  close(): unknown;
}

interface Address {
  url?: string;
  database?: string;
}

const CONNECT: Record<DatabaseName, (address: Address) => Promise<PreparedConnection>> = {
  async postgres({ url }) {
    const { Client } = await import('pg');
    const client = new Client({ connectionString: url });
    await client.connect();
    return {
      query: ({ name, sql }, values) => client.query({ name, text: sql, values: [...values] }),
      close: () => client.end(),
    };
  },
  async mariadb({ url }) {
    const { createConnection } = await import('mysql2/promise');
    const connection = await createConnection(url!);
    return {
      query: ({ sql }, values) => connection.execute(sql, values as (string | number | Buffer)[]),
      close: () => connection.end(),
    };
  },
  async sqlite({ database }) {
    const { default: Database } = await import('better-sqlite3');
    const handle = new Database(database);
    const prepared = new Map<SentStatement, { all(values: readonly unknown[]): unknown }>();
    return {
      query(statement, values) {
        if (!prepared.has(statement)) prepared.set(statement, handle.prepare(statement.sql));
        return prepared.get(statement)!.all(values);
      },
      close: () => handle.close(),
    };
  },
};

export const connect = (name: DatabaseName, options: DataSourceOptions): Promise<PreparedConnection> =>
  CONNECT[name](options as Address);
