import { describe, expect, it, vi } from 'vitest';
import type { Database, Row, TransactionScript } from '../lib/database/database.js';
import { hashLock } from '../lib/database/server.database.js';
import { DATABASE, NAMESPACE } from '../lib/expiring-token.constants.js';
import { onEveryDatabase } from './fixtures/app.js';

/** The parts of a connection of `mysql2` that the test uses. */
interface MysqlConnection {
  threadId: number;
  stream: { destroy(error: Error): void };
}

describe('A connection that is reset while a transaction waits for its lock', () => {
  onEveryDatabase(
    (environment) => {
      it('is replaced, and the transaction is done on another one', async () => {
        const app = await environment.boot({ options: { timeout: '10s' }, typeOrm: { poolSize: 1 } });
        const elsewhere = await environment.boot();
        const lock = hashLock(`${app.nest.get<string>(NAMESPACE)}:held`).toString('base64url');
        const holder = elsewhere.dataSource.createQueryRunner();
        await holder.query('SELECT GET_LOCK(?, 0)', [lock]);
        const runner = app.dataSource.createQueryRunner();
        const connection = (await runner.connect()) as MysqlConnection;
        await runner.release();

        const script = function* (): TransactionScript<Row[]> {
          return (yield { sql: 'SELECT 1 AS one', values: [] }).rows;
        };
        const done = app.nest.get<Database>(DATABASE).transaction('held', script, AbortSignal.timeout(10_000));
        const waiting = `SELECT 1 FROM information_schema.processlist WHERE id = ${connection.threadId} AND state = 'User lock'`;
        await vi.waitUntil(async () => (await elsewhere.dataSource.query<unknown[]>(waiting)).length === 1);
        connection.stream.destroy(Object.assign(new Error('reset'), { code: 'ECONNRESET' }));
        await holder.query('SELECT RELEASE_LOCK(?)', [lock]);
        await holder.release();
        expect(await done).toEqual([{ one: 1 }]);
      });
    },
    ['mariadb'],
  );
});
