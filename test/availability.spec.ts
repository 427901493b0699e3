import type { EventEmitter } from 'node:events';
import { Token, User } from 'nestjs-expiring-token';
import { DataSource } from 'typeorm';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import type { Database } from '../lib/database/database.js';
import { DATABASE } from '../lib/expiring-token.constants.js';
import { onEveryDatabase, onEveryEnvironment, PASSWORD, TestEnvironment, type TestApp } from './fixtures/app.js';
import { holdLock } from './fixtures/hold-lock.js';
import { type Answer, bearer } from './fixtures/http.js';

const UNAVAILABLE = {
  statusCode: 503,
  error: 'Service Unavailable',
  message: 'Authentication is temporarily unavailable',
  code: 'unavailable',
};

function expectUnavailable({ status, json, headers }: Answer, label?: string | number) {
  const name = label === undefined ? undefined : `request ${label}`;
  expect({ status, json }, name).toEqual({ status: 503, json: UNAVAILABLE });
  expect(headers['retry-after'], name).toMatch(/^[1-9]\d*$/);
  expect(headers['www-authenticate'], name).toBeUndefined();
}

describe('A database that cannot be queried', () => {
  onEveryEnvironment((environment) => {
    let app: TestApp;
    let token: string;
    let username: string;
    let refreshToken: string;
    let device: string;
    beforeAll(async () => {
      app = await environment.boot({ options: { timeout: '500ms', refresh: {} } });
      ({ username } = await app.createUser());
      const { json } = await app.login(username);
      ({ token, refreshToken } = json);
      device = `/auth/devices/${json.deviceId}`;
    });

    const refresh = () => app.post('/auth/refresh', { refreshToken });
    const everyRead = () => [
      app.get('/me', token),
      app.get('/optional', token),
      app.get('/auth/token', token),
      app.get('/auth/devices', token),
    ];
    const everyChange = () => [
      app.post('/auth/logout', undefined, token),
      app.post('/auth/logout-all', undefined, token),
      app.send(device, { method: 'PATCH', headers: bearer(token), body: { name: 'x' } }),
      app.send(device, { method: 'DELETE', headers: bearer(token) }),
      app.post('/auth/obtain-token', { username, password: PASSWORD }),
      app.login(username),
      refresh(),
    ];

    it('is answered 503 and never 401, and requests succeed as soon as it is back', async () => {
      await app.dataSource.query('ALTER TABLE auth_token RENAME TO away');
      (await Promise.all([...everyRead(), ...everyChange()])).forEach(expectUnavailable);
      expect((await app.get('/passport', token)).status).toBe(503);
      await app.dataSource.query('ALTER TABLE away RENAME TO auth_token');
      expect((await app.get('/me', token)).status).toBe(200);
    });

    it('still rejects a value that cannot be a token', async () => {
      await app.dataSource.query('ALTER TABLE auth_token RENAME TO away');
      expect((await app.get('/me', 'nonsense')).json.code).toBe('token_invalid');
      expect((await app.get('/me')).json.code).toBe('token_missing');
      await app.dataSource.query('ALTER TABLE away RENAME TO auth_token');
    });

    it('answers a login in the same way whatever the user name is', async () => {
      await app.dataSource.query('ALTER TABLE auth_user RENAME TO away');
      for (const name of [username, 'nobody']) expectUnavailable(await app.login(name), `with the user name ${name}`);
      await app.dataSource.query('ALTER TABLE away RENAME TO auth_user');
      expect((await app.login(username)).status).toBe(200);
    });

    it('is answered 503 too if a change fails after the token was read, and nothing is changed', async () => {
      const rows = await app.countTokens();
      const changing = (['transaction', 'write'] as const).map((method) =>
        vi.spyOn(app.nest.get<Database>(DATABASE), method).mockRejectedValue(new Error('gone')),
      );
      (await Promise.all(everyChange())).forEach(expectUnavailable);
      for (const method of changing) method.mockRestore();
      expect(await app.countTokens()).toBe(rows);
      expect((await app.get('/auth/token', token)).json.name).toBeNull();
    });

    it('does not log out a device that refreshes meanwhile: the same refresh token works afterwards', async () => {
      for (const table of ['auth_token', 'auth_user']) {
        await app.dataSource.query(`ALTER TABLE ${table} RENAME TO away`);
        expectUnavailable(await refresh(), `without the table ${table}`);
        await app.dataSource.query(`ALTER TABLE away RENAME TO ${table}`);
      }
      expect(await app.dataSource.getRepository(Token).countBy({ purpose: 'rotated' })).toBe(0);
      expect((await refresh()).status).toBe(200);
    });

    // SQLite has no server that could make a request wait.
    if (environment.databaseName === 'sqlite') return;

    it('is answered 503 after the time limit of the option timeout', async () => {
      const { options } = app.dataSource;
      const other = await new DataSource({ ...options, entities: [], synchronize: false }).initialize();
      const runner = other.createQueryRunner();
      const lock = {
        postgres: ['BEGIN', 'LOCK TABLE auth_token IN ACCESS EXCLUSIVE MODE', 'ROLLBACK'],
        mariadb: ['START TRANSACTION', 'LOCK TABLES auth_token WRITE', 'UNLOCK TABLES'],
      }[environment.databaseName as 'postgres' | 'mariadb'] as [string, string, string];
      const before = (await app.tokens.list((await app.tokens.authenticate(token)).token.userId)).length;
      await runner.query(lock[0]);
      await runner.query(lock[1]);
      const started = performance.now();
      (await Promise.all([app.get('/me', token), app.login(username)])).forEach(expectUnavailable);
      expect(performance.now() - started).toBeGreaterThan(450);
      expect(performance.now() - started).toBeLessThan(2000);
      await runner.query(lock[2]);
      expect((await app.get('/me', token)).status).toBe(200);
      // The rejected login was not done later.
      expect(await app.tokens.list((await app.tokens.authenticate(token)).token.userId)).toHaveLength(before);
      await runner.release();
      await other.destroy();
    });
  });
});

// SQLite has one connection for all requests.
describe('A pool without a free connection', () => {
  onEveryDatabase(
    (environment) => {
      it('is answered 503, and no rejected operation is done later', async () => {
        const app = await environment.boot({
          options: { timeout: '300ms' },
          typeOrm: { extra: environment.databaseName === 'postgres' ? { max: 1 } : { connectionLimit: 1 } },
        });
        const user = await app.createUser();
        const token = await app.token(user.id);
        const runner = app.dataSource.createQueryRunner();
        await runner.connect();
        const late = `late-${Date.now()}`;
        const calls = [
          app.tokens.issue(user.id),
          app.tokens.obtain(user.id),
          app.tokens.authenticate(token),
          app.tokens.revokeAll(user.id),
          app.users.create(late, PASSWORD),
          app.users.setActive(user.id, false),
        ];
        for (const [index, outcome] of (await Promise.allSettled(calls)).entries()) {
          expect(outcome, `call ${index}`).toMatchObject({ status: 'rejected', reason: { code: 'unavailable' } });
        }
        await runner.release();
        expect((await app.get('/me', token)).status).toBe(200);
        expect(await app.tokens.list(user.id)).toHaveLength(1);
        expect((await app.users.create(late, PASSWORD)).username).toBe(late);
      });
    },
    ['postgres', 'mariadb'],
  );
});

describe('Many requests of one user', () => {
  onEveryDatabase(
    (environment) => {
      it('wait with one connection, and leave the others of the pool to other users', async () => {
        const app = await environment.boot({
          options: { timeout: '20s' },
          typeOrm: { extra: environment.databaseName === 'postgres' ? { max: 2 } : { connectionLimit: 2 } },
        });
        const [user, token] = [await app.createUser(), await app.token()];
        const lock = await holdLock(environment.databaseOptions, user.id);
        const crowd = Array.from({ length: 10 }, () => app.tokens.obtain(user.id));
        await vi.waitUntil(async () => (await lock.countWaiting()) > 0, { timeout: 10_000 });
        for (let round = 0; round < 5; round++) {
          expect((await app.get('/me', token)).status, `round ${round}`).toBe(200);
        }
        expect(await lock.countWaiting()).toBeLessThanOrEqual(1);
        await lock.release();
        await Promise.all(crowd);
        expect(await app.tokens.list(user.id)).toHaveLength(1);
      });
    },
    ['postgres', 'mariadb'],
  );
});

describe('On PostgreSQL', () => {
  onEveryDatabase(
    (environment) => {
      it('a connection that the server closes while it is opened does not end the process', async () => {
        const app = await environment.boot({ typeOrm: { extra: { max: 20 } } });
        const token = await app.token();
        const pool = (app.dataSource.driver as unknown as { master: EventEmitter }).master;
        let opened = 0;
        pool.on('connect', (client: EventEmitter) => {
          opened++;
          // The pool has stopped listening by then, and TypeORM has not started.
          process.nextTick(() => client.emit('error', new Error('terminating connection')));
        });
        // Each of these uses another connection.
        await Promise.all(Array.from({ length: 15 }, (_, user) => app.tokens.issue(`user-${user}`)));
        expect(opened).toBeGreaterThan(0);
        expect((await app.get('/me', token)).status).toBe(200);
      });

      it('a table that is locked for a long time does not use up the connections of the server', async () => {
        // Created with the usual time limit: 50 ms can be too short on a busy machine.
        const token = await (await environment.boot()).token();
        const app = await environment.boot({ options: { timeout: '50ms' }, typeOrm: { extra: { max: 5 } } });
        const other = await new DataSource({ ...app.dataSource.options, entities: [] }).initialize();
        const holder = other.createQueryRunner();
        await holder.query('BEGIN');
        await holder.query('LOCK TABLE auth_token IN ACCESS EXCLUSIVE MODE');
        for (let request = 0; request < 40; request++) expectUnavailable(await app.get('/me', token), request);
        const [{ waiting }] = await holder.query(
          "SELECT count(*) AS waiting FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        );
        // While a statement waits, the server does not notice that its connection was closed: 20 closed ones, and those of the pool.
        expect(Number(waiting)).toBeGreaterThan(5);
        expect(Number(waiting)).toBeLessThanOrEqual(25);
        await holder.query('ROLLBACK');
        await vi.waitUntil(async () => (await app.get('/me', token)).status === 200);
        await holder.release();
        await other.destroy();
      });

      it('a connection that could not roll back does not undo later statements', async () => {
        const app = await environment.boot({
          options: { timeout: '2s' },
          typeOrm: { extra: { max: 1, query_timeout: 300 } },
        });
        const user = await app.createUser();
        const other = await new DataSource({ ...app.dataSource.options, entities: [] }).initialize();
        const holder = other.createQueryRunner();
        await holder.query('BEGIN');
        await holder.query('LOCK TABLE auth_token IN ACCESS EXCLUSIVE MODE');
        await expect(app.tokens.obtain(user.id)).rejects.toMatchObject({ code: 'unavailable' });
        await holder.query('ROLLBACK');
        // The connection that obtain used is the only one of the pool.
        await app.dataSource.query(`UPDATE auth_user SET active = false WHERE id = '${user.id}'`);
        expect(await holder.query(`SELECT active FROM auth_user WHERE id = '${user.id}'`)).toEqual([{ active: false }]);
        await holder.release();
        await other.destroy();
      });

      it('a transaction whose request timed out has ended before its connection is used again', async () => {
        // Created with the usual time limit: 50 ms can be too short on a busy machine.
        const unlimited = await environment.boot();
        const user = await unlimited.createUser();
        const token = await unlimited.token(user.id);
        const app = await environment.boot({ options: { timeout: '50ms' }, typeOrm: { extra: { max: 1 } } });
        const other = await new DataSource({ ...app.dataSource.options, entities: [] }).initialize();
        const holder = other.createQueryRunner();
        await holder.query('BEGIN');
        await holder.query('LOCK TABLE auth_token IN ACCESS EXCLUSIVE MODE');
        // As many connections as are closed because they do not answer.
        for (let request = 0; request < 20; request++) expectUnavailable(await app.get('/me', token), request);
        await expect(app.tokens.issue(user.id)).rejects.toMatchObject({ code: 'unavailable' });
        const change = app.dataSource.query(`UPDATE auth_user SET active = false WHERE id = '${user.id}'`);
        await holder.query('ROLLBACK');
        await change;
        expect(await holder.query(`SELECT active FROM auth_user WHERE id = '${user.id}'`)).toEqual([{ active: false }]);
        await holder.release();
        await other.destroy();
      });

      it('obtain is exact if the default isolation level is another one', async () => {
        const isolated = { typeOrm: { extra: { options: '-c default_transaction_isolation=repeatable\\ read' } } };
        const [one, two] = [await environment.boot(isolated), await environment.boot(isolated)];
        for (let round = 0; round < 20; round++) {
          const { id } = await one.createUser();
          await Promise.all([one, two].map((app) => app.tokens.obtain(id)));
          expect(await one.tokens.list(id), `round ${round}`).toHaveLength(1);
        }
      });
    },
    ['postgres'],
  );
});

describe('From a data source with a replica', () => {
  onEveryDatabase(
    (environment) => {
      it('tokens and users are read from the primary, which has rows that a replica does not have yet', async () => {
        const replica = new TestEnvironment(environment.databaseName, 'express');
        await replica.open();
        const { dataSource: replicaSource } = await replica.boot();
        const app = await environment.boot({
          options: { refresh: {} },
          typeOrm: {
            url: undefined,
            replication: { master: { url: environment.url }, slaves: [{ url: replica.url }] },
          },
        });
        const { id, username } = await app.createUser();
        const login = async () => {
          const { status, json } = await app.login(username);
          expect(status).toBe(200);
          return json;
        };
        const { token: first, refreshToken, deviceId } = await login();
        expect((await app.get('/me', first)).status).toBe(200);
        const refreshed = await app.post('/auth/refresh', { refreshToken });
        expect(refreshed.status).toBe(200);
        const { token } = refreshed.json;
        expect((await app.get('/auth/devices', token)).json).toMatchObject([{ id: deviceId, current: true }]);
        expect((await app.post('/auth/logout', undefined, token)).status).toBe(204);
        expect((await app.get('/me', token)).json.code).toBe('token_invalid');
        const again = await login();
        await app.users.setActive(id, false);
        expect((await app.get('/me', again.token)).json.code).toBe('user_inactive');
        for (const entity of [Token, User]) {
          expect(await replicaSource.getRepository(entity).count(), entity.name).toBe(0);
        }
        await app.nest.close();
        await replica.close();
      });
    },
    ['postgres', 'mariadb'],
  );
});

describe("An application's own transaction on SQLite", () => {
  const withApp = async (work: (app: TestApp) => Promise<void>) => {
    const environment = new TestEnvironment('sqlite', 'express');
    await environment.open();
    try {
      await work(await environment.boot({ options: { timeout: '300ms' } }));
    } finally {
      await environment.close();
    }
  };

  it('cannot roll back a token that was issued meanwhile', () =>
    withApp(async (app) => {
      const user = await app.createUser();
      const runner = app.dataSource.createQueryRunner();
      await runner.startTransaction();
      const issued = app.tokens.issue(user.id);
      const obtained = app.tokens.obtain(user.id);
      await runner.query('UPDATE auth_user SET active = 0');
      await runner.rollbackTransaction();
      for (const { plainText } of [await issued, await obtained]) {
        expect((await app.get('/me', plainText)).status).toBe(200);
      }
    }));

  it('cannot roll back a token whose issue starts at any moment', () =>
    withApp(async (app) => {
      const user = await app.createUser();
      const lost: string[] = [];
      for (let round = 0; round < 100; round++) {
        const rolledBack = () =>
          app.dataSource
            .transaction(async (manager) => {
              await manager.query('UPDATE auth_user SET active = 1');
              throw new Error('changed my mind');
            })
            .catch(() => undefined);
        const tasks: Promise<unknown>[] = [];
        const issued: Promise<{ plainText: string }>[] = [];
        // The order in which both reach the connection differs by a microtask in each round.
        const startAfter = async (microtasks: number, start: () => void) => {
          for (let passed = 0; passed < microtasks; passed++) await Promise.resolve();
          start();
        };
        await Promise.all([
          startAfter(round % 10, () => tasks.push(rolledBack())),
          startAfter((round / 10) | 0, () => issued.push(app.tokens.issue(user.id))),
        ]);
        await Promise.all(tasks);
        for (const { plainText } of await Promise.all(issued)) {
          await app.tokens.authenticate(plainText).catch(() => lost.push(plainText));
        }
      }
      expect(lost).toEqual([]);
    }));

  it('does not delay reads, and delays writes no longer than timeout', () =>
    withApp(async (app) => {
      const token = await app.token();
      const runner = app.dataSource.createQueryRunner();
      await runner.startTransaction();
      expect((await app.get('/me', token)).status).toBe(200);
      expectUnavailable(await app.post('/auth/logout', undefined, token));
      expectUnavailable(await app.post('/auth/logout-all', undefined, token));
      await runner.commitTransaction();
      expect((await app.post('/auth/logout', undefined, token)).status).toBe(204);
    }));
});
