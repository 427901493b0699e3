import { EventEmitter } from 'node:events';
import { createRequire } from 'node:module';
import { Client, Pool, type PoolClient } from 'pg';
import { describe, expect, it } from 'vitest';
import { onEveryDatabase } from './fixtures/app.js';

type Callback = (error: Error | undefined, client?: object, release?: () => void) => void;

const noRelease = () => undefined;

/** As PGlite and pg-mem: the pool is its only connection. */
class OneSession extends EventEmitter {
  private readonly client: Client;
  private isConnected = false;

  constructor({ connectionString }: { connectionString: string }) {
    super();
    this.client = new Client(connectionString);
  }

  connect(done: Callback): void {
    if (this.isConnected) return done(undefined, this, noRelease);
    this.isConnected = true;
    this.client.connect((error?: Error) => done(error, this, noRelease));
  }

  query(...parameters: Parameters<Client['query']>): unknown {
    return this.client.query(...parameters);
  }

  end(done: () => void): void {
    this.client.end(done);
  }
}

/** As the clients of some drivers, which accept a text with values, and no object. */
class TextPool extends Pool {
  override connect(): Promise<PoolClient>;
  override connect(done: Callback): void;
  override connect(done?: Callback): Promise<PoolClient> | void {
    if (!done) return super.connect();
    super.connect((error, client, release) => {
      if (client) onlyText(client);
      done(error, client, release);
    });
  }
}

function onlyText(client: PoolClient): void {
  const query = client.query.bind(client) as (...parameters: unknown[]) => unknown;
  const textQuery = (...parameters: unknown[]) => {
    if (typeof parameters[0] !== 'string') throw new TypeError('the statement is not a text');
    return query(...parameters);
  };
  Object.assign(client, { query: textQuery });
}

describe('A driver in place of pg stops the start', () => {
  onEveryDatabase(
    (environment) => {
      it.each([
        ['all connections are one session', OneSession, 'all connections are one session'],
        ['a statement cannot have a name and values', TextPool, 'the statement is not a text'],
      ])('if %s', async (_, Replacement, reason) => {
        const start = environment.boot({ typeOrm: { driver: { Pool: Replacement } } });
        await expect(start).rejects.toThrow(`its driver does not work as pg does: ${reason}. Use pg with a server.`);
      });
    },
    ['postgres'],
  );
});

/** Counts the statements with which the package tries a driver. */
class CountingPool extends Pool {
  static trials = 0;

  override connect(): Promise<PoolClient>;
  override connect(done: Callback): void;
  override connect(done?: Callback): Promise<PoolClient> | void {
    if (!done) return super.connect();
    super.connect((error, client, release) => {
      if (client && !CountingPool.watched.has(client)) CountingPool.watch(client);
      done(error, client, release);
    });
  }

  private static readonly watched = new WeakSet<object>();

  private static watch(client: PoolClient): void {
    CountingPool.watched.add(client);
    const query = client.query.bind(client) as (...parameters: unknown[]) => unknown;
    const countingQuery = (...parameters: unknown[]) => {
      if (JSON.stringify(parameters[0])?.includes(' AS answer')) CountingPool.trials++;
      return query(...parameters);
    };
    Object.assign(client, { query: countingQuery });
  }
}

describe('A driver in place of pg', () => {
  onEveryDatabase(
    (environment) => {
      it('is tried once, whatever the number of tables', async () => {
        await environment.boot({ typeOrm: { driver: { Pool: CountingPool } } });
        expect(CountingPool.trials).toBe(1);
      });
    },
    ['postgres'],
  );
});

describe('A driver in place of mysql2 stops the start', () => {
  onEveryDatabase(
    (environment) => {
      it('if it prepares no statements', async () => {
        const mysql2 = createRequire(import.meta.url)('mysql2') as { createPool(options: object): EventEmitter };
        const createPool = (options: object) =>
          mysql2.createPool(options).on('connection', (connection: object) => {
            Object.assign(connection, { execute: undefined });
          });
        const start = environment.boot({ typeOrm: { driver: { createPool } } });
        await expect(start).rejects.toThrow(/its driver does not work as mysql2 does: .*execute is not a function/);
      });
    },
    ['mariadb'],
  );
});
