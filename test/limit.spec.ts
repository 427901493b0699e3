import { beforeAll, describe, expect, it } from 'vitest';
import { TokenTransactions } from '../lib/tokens/transactions/token.transactions.js';
import { UserTransactions } from '../lib/tokens/transactions/user.transactions.js';
import { onEveryDatabase, PASSWORD, type TestApp } from './fixtures/app.js';

const HOUR_MS = 3_600_000;

const logIn = async (app: TestApp, username: string, deviceName: string) =>
  app.post('/auth/login', { username, password: PASSWORD, deviceName });

const namesOf = async (app: TestApp, userId: string) => (await app.tokens.list(userId)).map(({ name }) => name);

describe('The limit of devices', () => {
  onEveryDatabase((environment) => {
    it('rejects one more login with the policy reject, and writes nothing', async () => {
      const app = await environment.boot({ options: { limit: { perUser: 2, policy: 'reject' } } });
      const user = await app.createUser();
      const [first] = [await logIn(app, user.username, 'a'), await logIn(app, user.username, 'b')];
      const rows = await app.countTokens();
      const { status, json, headers } = await logIn(app, user.username, 'c');
      expect(status).toBe(403);
      expect(json).toEqual({ statusCode: 403, error: 'Forbidden', message: 'Too many devices', code: 'limit_reached' });
      expect(headers).not.toHaveProperty('www-authenticate');
      const obtained = await app.post('/auth/obtain-token', { username: user.username, password: PASSWORD });
      expect(obtained.json.code).toBe('limit_reached');
      await expect(app.tokens.issue(user.id)).rejects.toMatchObject({ code: 'limit_reached' });
      expect(await app.countTokens()).toBe(rows);

      await app.post('/auth/logout', undefined, first.json.token);
      expect((await logIn(app, user.username, 'c')).status).toBe(200);
      const other = await app.createUser();
      expect((await logIn(app, other.username, 'a')).status).toBe(200);
    });
  });

  onEveryDatabase((environment) => {
    let app: TestApp;
    beforeAll(async () => {
      app = await environment.boot({
        options: { limit: { perUser: 3, policy: 'evict' }, refresh: {}, lifespan: '30d' },
      });
    });

    it('ends the least recently used device with the policy evict, and never the new one', async () => {
      const user = await app.createUser();
      const tokens: Record<string, string> = {};
      for (const name of ['a', 'b', 'c']) {
        tokens[name] = (await logIn(app, user.username, name)).json.token;
        app.clock.advance(HOUR_MS);
      }
      await app.get('/me', tokens.a);
      await app.usesWritten();
      expect((await logIn(app, user.username, 'd')).status).toBe(200);
      app.clock.advance(1);
      expect(await namesOf(app, user.id)).toEqual(['d', 'c', 'a']);
      expect((await app.get('/me', tokens.b)).json.code).toBe('token_invalid');
      expect((await logIn(app, user.username, 'e')).status).toBe(200);
      expect(await namesOf(app, user.id)).toEqual(['e', 'd', 'a']);
    });

    it('ends the older one of devices that were last used at the same instant', async () => {
      const user = await app.createUser();
      const { json } = await logIn(app, user.username, 'a');
      app.clock.advance(HOUR_MS);
      await app.get('/me', json.token);
      await app.usesWritten();
      for (const name of ['b', 'c', 'd']) await logIn(app, user.username, name);
      expect(new Set(await namesOf(app, user.id))).toEqual(new Set(['b', 'c', 'd']));
    });

    it('revokes nothing for a token whose purpose makes no device', async () => {
      const user = await app.createUser();
      for (const name of ['a', 'b', 'c']) await app.tokens.issue(user.id, { name });
      const token = { purpose: 'rotated', lifespan: null, scopes: null, actorId: null } as const;
      await app.nest
        .get(UserTransactions)
        .run(user.id, (emit) => app.nest.get(TokenTransactions).issue(user.id, { name: 'd' }, token, emit));
      expect(new Set(await namesOf(app, user.id))).toEqual(new Set(['a', 'b', 'c']));
    });

    it('counts the obtained device, and no expired device', async () => {
      const user = await app.createUser();
      await app.tokens.issue(user.id, { name: 'short', lifespan: '1h' });
      await logIn(app, user.username, 'a');
      app.clock.advance(1);
      await app.tokens.obtain(user.id, { name: 'obtained' });
      app.clock.advance(HOUR_MS);
      await logIn(app, user.username, 'b');
      expect(await namesOf(app, user.id)).toEqual(['b', 'obtained', 'a']);
      app.clock.advance(1);
      await app.tokens.obtain(user.id, { name: 'obtained again' });
      expect(await namesOf(app, user.id)).toEqual(['obtained again', 'b', 'a']);
      app.clock.advance(1);
      await logIn(app, user.username, 'c');
      expect(await namesOf(app, user.id)).toEqual(['c', 'obtained again', 'b']);
    });

    it('applies from the next login on after it was lowered', async () => {
      const user = await app.createUser();
      for (const name of ['a', 'b', 'c']) {
        await logIn(app, user.username, name);
        app.clock.advance(1);
      }
      const lower = await environment.boot({
        options: { limit: { perUser: 1, policy: 'evict' }, refresh: {} },
        clock: app.clock,
      });
      expect(await namesOf(lower, user.id)).toHaveLength(3);
      await logIn(lower, user.username, 'd');
      expect(await namesOf(lower, user.id)).toEqual(['d']);
    });

    it('is not affected by a refresh', async () => {
      const user = await app.createUser();
      const logins = [];
      for (const name of ['a', 'b', 'c']) logins.push((await logIn(app, user.username, name)).json);
      for (const { refreshToken } of logins) await app.tokens.refresh(refreshToken);
      expect(new Set(await namesOf(app, user.id))).toEqual(new Set(['a', 'b', 'c']));
    });
  });
});
