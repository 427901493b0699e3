import { DataSource } from 'typeorm';
import { beforeAll, describe, expect, it } from 'vitest';
import { onEveryStack, PASSWORD, Stack, type TestApp } from './fixtures/app.js';
import { type Answer, bearer } from './fixtures/http.js';

const UNAVAILABLE = {
  statusCode: 503,
  error: 'Service Unavailable',
  message: 'Authentication is temporarily unavailable',
  code: 'unavailable',
};

function expectUnavailable({ status, json, headers }: Answer) {
  expect({ status, json }).toEqual({ status: 503, json: UNAVAILABLE });
  expect(headers['retry-after']).toMatch(/^[1-9]\d*$/);
  expect(headers['www-authenticate']).toBeUndefined();
}

describe('A database that cannot be asked', () => {
  onEveryStack((stack) => {
    let app: TestApp;
    let token: string;
    let username: string;
    beforeAll(async () => {
      app = await stack.boot({ options: { timeout: '500ms' } });
      ({ username } = await app.createUser());
      token = (await app.login(username)).json.token;
    });

    const everyRoute = () =>
      Promise.all([
        app.get('/me', token),
        app.get('/optional', token),
        app.get('/auth/token', token),
        app.get('/auth/devices', token),
        app.post('/auth/logout', undefined, token),
        app.post('/auth/logout-all', undefined, token),
        app.send('/auth/devices/1', { method: 'DELETE', headers: bearer(token) }),
        app.post('/auth/obtain-token', { username, password: PASSWORD }),
        app.login(username),
      ]);

    it('is answered 503 and never 401, and is forgotten as soon as it is back', async () => {
      await app.dataSource.query('ALTER TABLE auth_token RENAME TO away');
      for (const answer of await everyRoute()) expectUnavailable(answer);
      expect((await app.get('/passport', token)).status).toBe(503);
      await app.dataSource.query('ALTER TABLE away RENAME TO auth_token');
      expect((await app.get('/me', token)).status).toBe(200);
    });

    it('refuses what cannot be a token all the same', async () => {
      await app.dataSource.query('ALTER TABLE auth_token RENAME TO away');
      expect((await app.get('/me', 'nonsense')).json.code).toBe('token_invalid');
      expect((await app.get('/me')).json.code).toBe('token_missing');
      await app.dataSource.query('ALTER TABLE away RENAME TO auth_token');
    });

    it('is not told apart by user name at login', async () => {
      await app.dataSource.query('ALTER TABLE auth_user RENAME TO away');
      for (const name of [username, 'nobody']) expectUnavailable(await app.login(name));
      await app.dataSource.query('ALTER TABLE away RENAME TO auth_user');
      expect((await app.login(username)).status).toBe(200);
    });

    // SQLite has no server that could keep us waiting.
    if (stack.databaseName === 'sqlite') return;

    it('is waited for as long as timeout says', async () => {
      const { options } = app.dataSource;
      const other = await new DataSource({ ...options, entities: [], synchronize: false }).initialize();
      const runner = other.createQueryRunner();
      const lock = {
        postgres: ['BEGIN', 'LOCK TABLE auth_token IN ACCESS EXCLUSIVE MODE', 'ROLLBACK'],
        mariadb: ['START TRANSACTION', 'LOCK TABLES auth_token WRITE', 'UNLOCK TABLES'],
      }[stack.databaseName as 'postgres' | 'mariadb'] as [string, string, string];
      await runner.query(lock[0]);
      await runner.query(lock[1]);
      const started = performance.now();
      for (const answer of await Promise.all([app.get('/me', token), app.login(username)])) expectUnavailable(answer);
      expect(performance.now() - started).toBeGreaterThan(450);
      expect(performance.now() - started).toBeLessThan(2000);
      await runner.query(lock[2]);
      expect((await app.get('/me', token)).status).toBe(200);
      await runner.release();
      await other.destroy();
    });
  });
});

describe("An application's own transaction on SQLite", () => {
  const withApp = async (work: (app: TestApp) => Promise<void>) => {
    const stack = new Stack('sqlite', 'express');
    await stack.open();
    try {
      await work(await stack.boot({ options: { timeout: '300ms' } }));
    } finally {
      await stack.close();
    }
  };

  it('cannot take a token with it that was issued meanwhile', () =>
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

  it('does not hold up reading, and writing no longer than timeout', () =>
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
