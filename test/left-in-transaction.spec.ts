import { User } from 'nestjs-expiring-token';
import type { EntityManager } from 'typeorm';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Database } from '../lib/database/database.js';
import { Table } from '../lib/database/table.js';
import { DATA_SOURCE, DATABASE } from '../lib/expiring-token.constants.js';
import { onEveryDatabase, type TestApp, warnings } from './fixtures/app.js';

const SERVERS = ['postgres', 'mariadb'] as const;
type ServerName = (typeof SERVERS)[number];

/** One connection, so that the next statement gets the connection that was left. */
const POOL = { poolSize: 1 };

/** What an application does to a connection before it returns it to the pool. */
const LEFT: Record<ServerName, Record<string, readonly string[]>> = {
  postgres: {
    'an open transaction': ['BEGIN', 'SELECT 1 FROM auth_token'],
    'a transaction that an error aborted': ['BEGIN', 'SELECT 1/0'],
    'a snapshot': ['BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT 1 FROM auth_token'],
    'a serializable snapshot': ['BEGIN ISOLATION LEVEL SERIALIZABLE', 'SELECT 1 FROM auth_token'],
    'a read-only session': ['SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY'],
    'another isolation level': ['SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE'],
  },
  mariadb: {
    'an open transaction': ['START TRANSACTION'],
    'a snapshot': ['START TRANSACTION WITH CONSISTENT SNAPSHOT'],
    'a read-only transaction': ['START TRANSACTION READ ONLY'],
    'no autocommit': ['SET autocommit = 0', 'SELECT COUNT(*) FROM auth_token'],
    'a read-only session': ['SET SESSION TRANSACTION READ ONLY'],
    'another isolation level': ['SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE'],
    'locked tables': ['CREATE TABLE IF NOT EXISTS note (id int)', 'LOCK TABLES note READ'],
    'a distributed transaction': ["XA START 'left'"],
  },
};

/** Leaves a connection as an application does that forgets to end its transaction. */
async function leave({ dataSource }: TestApp, statements: readonly string[]): Promise<void> {
  const runner = dataSource.createQueryRunner();
  // One of the statements fails on purpose.
  for (const statement of statements) await runner.query(statement).catch(() => undefined);
  await runner.release();
}

/** Leaves all ten connections of a pool. */
async function leaveAll({ dataSource }: TestApp, statements: readonly string[]): Promise<void> {
  const runners = Array.from({ length: 10 }, () => dataSource.createQueryRunner());
  await Promise.all(runners.map((runner) => runner.connect()));
  for (const runner of runners) for (const statement of statements) await runner.query(statement);
  await Promise.all(runners.map((runner) => runner.release()));
}

/** Makes a user inactive, by one statement without a transaction of this package. */
async function write({ nest }: TestApp, { id }: User): Promise<void> {
  const table = new Table<User, Pick<User, 'id' | 'active'>>(nest.get(DATA_SOURCE, { strict: false }), User);
  const database = nest.get<Database>(DATABASE, { strict: false });
  await database.write(table.update({ active: false }, { id }), AbortSignal.timeout(10_000));
}

describe('After the application returned a connection to the pool with', () => {
  onEveryDatabase(
    (environment) => {
      let app: TestApp;
      let elsewhere: TestApp;
      let user: User;
      beforeAll(async () => {
        app = await environment.boot({ options: { timeout: '10s' }, typeOrm: POOL });
        elsewhere = await environment.boot({ clock: app.clock });
      });
      beforeEach(async () => {
        user = await elsewhere.createUser();
      });

      const cases = Object.entries(LEFT[environment.databaseName as ServerName]);

      it.each(cases)('%s, a token that another process revoked is rejected', async (_, left) => {
        const [revoked, kept] = [await elsewhere.tokens.issue(user.id), await elsewhere.tokens.issue(user.id)];
        await leave(app, left);
        await elsewhere.tokens.revokeAll(user.id, { except: kept.token.deviceId });
        expect((await app.get('/me', revoked.plainText)).status).toBe(401);
        expect((await app.get('/me', kept.plainText)).status).toBe(200);
      });

      it.each(cases)('%s, a transaction of this package is committed', async (_, left) => {
        await leave(app, left);
        const { plainText } = await app.tokens.issue(user.id);
        expect((await elsewhere.get('/me', plainText)).status).toBe(200);
      });

      it.each(cases)('%s, a statement of this package is committed', async (_, left) => {
        const { plainText } = await elsewhere.tokens.issue(user.id);
        await leave(app, left);
        await write(app, user);
        expect((await elsewhere.get('/me', plainText)).status).toBe(401);
      });

      it.each(cases)('%s, users are read as they are now', async (_, left) => {
        await leave(app, left);
        await elsewhere.users.setActive(user.id, false);
        const database = app.nest.get<Database>(DATABASE, { strict: false });
        const load = (manager: EntityManager) => manager.findOneBy(User, { id: user.id });
        expect(await database.readEntities(load, AbortSignal.timeout(10_000))).toMatchObject({ active: false });
      });

      it('a transaction, the log names the probable cause once, and no statement', async () => {
        const one = await environment.boot({ typeOrm: POOL, clock: app.clock });
        const { plainText } = await one.tokens.issue(user.id);
        warnings.length = 0;
        for (let i = 0; i < 3; i++) {
          await leave(one, ['START TRANSACTION', 'SELECT 1 FROM auth_user']);
          expect((await one.get('/me', plainText)).status).toBe(200);
        }
        expect(warnings).toEqual([
          expect.stringContaining('a QueryRunner that was released without commitTransaction()'),
        ]);
      });

      it('a transaction on each connection of the pool, all are replaced within one request', async () => {
        const { plainText } = await elsewhere.tokens.issue(user.id);
        await leaveAll(elsewhere, ['START TRANSACTION', 'SELECT 1 FROM auth_user']);
        expect((await elsewhere.get('/me', plainText)).status).toBe(200);
      });

      it('a transaction, that transaction is rolled back', async () => {
        const { plainText } = await elsewhere.tokens.issue(user.id);
        await leave(app, ['START TRANSACTION', `UPDATE auth_user SET username = 'left' WHERE id = '${user.id}'`]);
        expect((await app.get('/me', plainText)).json.user.username).toBe(user.username);
        await app.tokens.issue(user.id);
        expect((await elsewhere.get('/me', plainText)).json.user.username).toBe(user.username);
      });
    },
    [...SERVERS],
  );
});

describe('While a transaction of the application is open on the one connection of SQLite', () => {
  onEveryDatabase(
    (environment) => {
      let app: TestApp;
      let elsewhere: TestApp;
      let user: User;
      beforeAll(async () => {
        app = await environment.boot({ options: { timeout: '10s' } });
        elsewhere = await environment.boot({ clock: app.clock });
      });
      beforeEach(async () => {
        user = await elsewhere.createUser();
      });

      it('and reads, a token that another process revoked is rejected', async () => {
        const [revoked, kept] = [await elsewhere.tokens.issue(user.id), await elsewhere.tokens.issue(user.id)];
        await app.dataSource.query('BEGIN');
        await app.dataSource.query('SELECT * FROM auth_token');
        await elsewhere.tokens.revokeAll(user.id, { except: kept.token.deviceId });
        const statuses = [await app.get('/me', revoked.plainText), await app.get('/me', kept.plainText)];
        await app.dataSource.query('ROLLBACK');
        expect(statuses.map(({ status }) => status)).toEqual([401, 200]);
      });

      it('and writes, nothing is read that may be rolled back', async () => {
        const { plainText } = await elsewhere.tokens.issue(user.id);
        await app.dataSource.query('BEGIN');
        await app.dataSource.query(`UPDATE auth_user SET active = 0 WHERE id = '${user.id}'`);
        const { status } = await app.get('/me', plainText);
        await app.dataSource.query('ROLLBACK');
        expect(status).toBe(200);
      });

      it('and reads, users are read when it has ended', async () => {
        await app.dataSource.query('BEGIN');
        await app.dataSource.query('SELECT * FROM auth_user');
        await elsewhere.users.setActive(user.id, false);
        const database = app.nest.get<Database>(DATABASE, { strict: false });
        const load = (manager: EntityManager) => manager.findOneBy(User, { id: user.id });
        const reading = database.readEntities(load, AbortSignal.timeout(10_000));
        // A read that does not wait ends during this request.
        expect((await app.get('/public')).status).toBe(200);
        await app.dataSource.query('ROLLBACK');
        expect(await reading).toMatchObject({ active: false });
      });
    },
    ['sqlite'],
  );
});
