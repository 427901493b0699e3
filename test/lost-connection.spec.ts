import { describe, expect, it, vi } from 'vitest';
import type { Database, Row, TransactionScript } from '../lib/database/database.js';
import { DATABASE } from '../lib/expiring-token.constants.js';
import { onEveryDatabase } from './fixtures/app.js';
import { holdLock } from './fixtures/hold-lock.js';

/** The parts of a connection of `mysql2` that the test uses. */
interface MysqlConnection {
  stream: { destroy(error: Error): void };
}

describe('A connection that is reset while a transaction waits for its lock', () => {
  onEveryDatabase(
    (environment) => {
      it('is replaced, and the transaction is done on another one', async () => {
        const app = await environment.boot({ options: { timeout: '10s' }, typeOrm: { poolSize: 1 } });
        const runner = app.dataSource.createQueryRunner();
        const connection = (await runner.connect()) as MysqlConnection;
        await runner.release();
        const lock = await holdLock(environment.databaseOptions, 'held');

        const script = function* (): TransactionScript<Row[]> {
          return (yield { sql: 'SELECT 1 AS one', values: [] }).rows;
        };
        const done = app.nest.get<Database>(DATABASE).transaction('held', script, AbortSignal.timeout(10_000));
        await vi.waitUntil(async () => (await lock.countWaiting()) === 1, { timeout: 10_000 });
        connection.stream.destroy(Object.assign(new Error('reset'), { code: 'ECONNRESET' }));
        await lock.release();
        expect(await done).toEqual([{ one: 1 }]);
      });
    },
    ['mariadb'],
  );
});
