import { createHash, randomBytes } from 'node:crypto';
import { Token } from 'nestjs-expiring-token';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { onOneEnvironment, PASSWORD, TestEnvironment, type TestApp } from '../fixtures/app.js';
import { itHasATestForEachRowBelow } from '../fixtures/documented-rows.js';
import {
  AbleToken,
  at,
  DAY_MS,
  drfKey,
  HOUR_MS,
  login,
  MINUTE_MS,
  notAnOption,
  refused,
  sha256,
  start,
  use,
  withScheme,
  onADatabaseOfItsOwn,
} from '../fixtures/predecessors.js';

describe('Coming from django-rest-knox', () => {
  // Databases have no part in these options: their own specs show them on each database.
  onOneEnvironment((environment) => {
    /** With default options. */
    let plain: TestApp;
    /** With the options of a project that comes from Sanctum. */
    let sanctum: TestApp;
    /** With a token entity that the application extends, and therefore on a database that no other application shares. */
    let able: TestApp;
    const separate = new TestEnvironment(environment.databaseName, environment.adapterName);
    beforeAll(async () => {
      plain = await environment.boot();
      sanctum = await environment.boot({ options: { usernameField: 'email', imported: ['sanctum'] } });
      await separate.open();
      able = await separate.boot({ options: { tokenEntity: AbleToken } });
    });
    afterAll(() => separate.close());

    it('SECURE_HASH_ALGORITHM: is SHA-256, and no option', async () => {
      const user = await plain.createUser();
      const { plainText } = await plain.tokens.issue(user.id);
      const stored = (await plain.dump())
        .filter((row) => row.user_id === user.id)
        .map(({ digest }) => Buffer.from(digest as Buffer).toString('hex'));
      expect(stored).toEqual([sha256(plainText)]);
      await notAnOption('hashAlgorithm', 'sha512');
    });

    it('AUTH_TOKEN_CHARACTER_LENGTH: is fixed, and no option', async () => {
      expect(await plain.token()).toMatch(/^ext_[A-Za-z0-9_-]{70}$/);
      await notAnOption('tokenLength', 64);
    });

    it('TOKEN_TTL: is lifespan, null for ever, and a change applies to tokens already issued', async () => {
      const tenHours = await environment.boot({ options: { lifespan: '10h' } });
      const { clock } = tenHours;
      const [endless, oneHour] = await Promise.all(
        [null, '1h'].map((lifespan) => environment.boot({ options: { lifespan }, clock })),
      );
      const token = await tenHours.token();
      clock.advance(HOUR_MS);
      refused(await oneHour!.get('/me', token), 401, 'token_expired');
      clock.advance(9 * HOUR_MS);
      refused(await tenHours.get('/me', token), 401, 'token_expired');
      clock.advance(20 * 365 * DAY_MS);
      expect((await endless!.get('/me', token)).status).toBe(200);
      expect((await endless!.get('/auth/token', token)).json.expiresAt).toBeNull();
    });

    it("USER_SERIALIZER: is a route of the application's own; a login answers no user", async () => {
      const { username } = await plain.createUser();
      const answer = await login(plain, username);
      expect(Object.keys(answer)).not.toContain('user');
      expect((await plain.get('/me', answer.token)).json.user.username).toBe(username);
      await notAnOption('userSerializer', () => ({}));
    });

    it('TOKEN_LIMIT_PER_USER: is limit, which rejects the login or evicts the device unused longest', async () => {
      const rejecting = await environment.boot({ options: { limit: { perUser: 2, policy: 'reject' } } });
      const user = await rejecting.createUser();
      await rejecting.tokens.issue(user.id, { lifespan: null });
      const { token } = await login(rejecting, user.username);
      refused(await rejecting.login(user.username), 403, 'limit_reached', 'Too many devices');
      await rejecting.post('/auth/logout', undefined, token);
      expect((await rejecting.login(user.username)).status).toBe(200);

      const evicting = await environment.boot({ options: { limit: { perUser: 2, policy: 'evict' } } });
      const { username } = await evicting.createUser();
      const tokens: string[] = [];
      for (let device = 0; device < 3; device++) {
        tokens.push((await login(evicting, username)).token);
        evicting.clock.advance(HOUR_MS);
      }
      const statuses = await Promise.all(tokens.map(async (each) => (await evicting.get('/me', each)).status));
      expect(statuses).toEqual([401, 200, 200]);
    });

    it('AUTO_REFRESH: is idle without a lifespan', async () => {
      const app = await environment.boot({ options: { idle: '10h', lifespan: null } });
      const token = await app.token();
      for (let times = 0; times < 10; times++) {
        app.clock.advance(9 * HOUR_MS);
        await use(app, token);
      }
      expect((await app.get('/auth/token', token)).json.expiresAt).toBe(at(app, 10 * HOUR_MS));
      app.clock.advance(10 * HOUR_MS);
      refused(await app.get('/me', token), 401, 'token_expired');
    });

    it('AUTO_REFRESH_MAX_TTL: is lifespan beside idle', async () => {
      const app = await environment.boot({ options: { idle: '10h', lifespan: '24h' } });
      const token = await app.token();
      for (let times = 0; times < 2; times++) {
        app.clock.advance(9 * HOUR_MS);
        await use(app, token);
      }
      app.clock.advance(6 * HOUR_MS - 1);
      expect((await app.get('/me', token)).status).toBe(200);
      app.clock.advance(1);
      refused(await app.get('/me', token), 401, 'token_expired');
    });

    it('MIN_REFRESH_INTERVAL: is lastUsedAccuracy', async () => {
      const app = await environment.boot({ options: { idle: '10h', lastUsedAccuracy: '60s' } });
      const token = await app.token();
      const firstUse = at(app);
      expect(await use(app, token)).toBe(firstUse);
      app.clock.advance(MINUTE_MS - 1);
      expect(await use(app, token)).toBe(firstUse);
      app.clock.advance(1);
      expect(await use(app, token)).toBe(at(app));
    });

    it('AUTH_HEADER_PREFIX: is schemes', async () => {
      const app = await environment.boot({ options: { schemes: ['Token'] } });
      expect((await withScheme(app, 'Token', await app.token())).status).toBe(200);
      refused(await withScheme(app, 'Bearer', await app.token()), 401, 'token_missing');
    });

    it('EXPIRY_DATETIME_FORMAT: is ISO 8601 in UTC, with seconds from now beside it', async () => {
      const { username } = await plain.createUser();
      const { expiresAt, expiresIn } = await login(plain, username);
      expect(expiresAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      expect(Date.parse(expiresAt) - plain.clock.now).toBe(expiresIn * 1000);
      await notAnOption('dateFormat', 'YYYY');
    });

    it('TOKEN_MODEL: is tokenEntity', async () => {
      const user = await able.createUser();
      const { token } = await able.tokens.issue(user.id);
      await able.dataSource.getRepository(AbleToken).update({ id: token.id }, { abilities: 'server:list' });
      expect(await able.dataSource.getRepository(AbleToken).findOneByOrFail({ id: token.id })).toMatchObject({
        userId: user.id,
        abilities: 'server:list',
      });
    });

    it('TOKEN_PREFIX: is prefix', async () => {
      const app = await environment.boot({ options: { prefix: 'acme_' } });
      const token = await app.token();
      expect(token).toMatch(/^acme_[A-Za-z0-9_-]{70}$/);
      expect((await app.get('/me', token)).status).toBe(200);
      await expect(start({ prefix: '' })).rejects.toThrow('prefix: "" is not allowed');
    });

    it('TokenAuthentication: is the guard', async () => {
      refused(await plain.get('/me'), 401, 'token_missing');
      expect((await plain.get('/me', await plain.token())).status).toBe(200);
    });

    it('LoginView: is login with the credentials as JSON, or issue behind another way in', async () => {
      const user = await plain.createUser();
      const basic = Buffer.from(`${user.username}:${PASSWORD}`).toString('base64');
      const headers = [['Authorization', `Basic ${basic}`]] as const;
      refused(await plain.send('/auth/login', { method: 'POST', headers }), 400, 'validation_failed');
      expect(await login(plain, user.username)).toMatchObject({ expiresAt: at(plain, 30 * DAY_MS) });
      const { plainText } = await plain.tokens.issue(user.id);
      expect((await plain.get('/me', plainText)).json.user.username).toBe(user.username);
    });

    it('LogoutView: is logout, 204', async () => {
      const token = await plain.token();
      expect((await plain.post('/auth/logout', undefined, token)).status).toBe(204);
      refused(await plain.get('/me', token), 401, 'token_invalid');
    });

    it('LogoutAllView: is logout-all, which counts, and can spare the device in use', async () => {
      const user = await plain.createUser();
      const [here, there] = [await plain.token(user.id), await plain.token(user.id)];
      const { status, json } = await plain.post('/auth/logout-all', { keepCurrent: true }, here);
      expect({ status, json }).toEqual({ status: 200, json: { revoked: 1 } });
      refused(await plain.get('/me', there), 401, 'token_invalid');
      expect((await plain.post('/auth/logout-all', undefined, here)).json).toEqual({ revoked: 1 });
      refused(await plain.get('/me', here), 401, 'token_invalid');
    });

    it('AuthToken.objects.create(user, expiry): is issue with a lifespan', async () => {
      const user = await plain.createUser();
      const { token, plainText } = await plain.tokens.issue(user.id, { lifespan: '10m' });
      expect(token).toMatchObject({ userId: user.id, lifespan: 10 * MINUTE_MS });
      plain.clock.advance(10 * MINUTE_MS);
      refused(await plain.get('/me', plainText), 401, 'token_expired');
    });

    it('Named tokens: are personal tokens, which users make and revoke one by one', async () => {
      const app = await environment.boot({ options: { personal: true } });
      const loginToken = await app.token();
      const { json } = await app.post('/auth/tokens', { name: 'nightly export' }, loginToken);
      expect((await app.get('/auth/tokens', loginToken)).json).toMatchObject([{ id: json.id, name: 'nightly export' }]);
      expect((await app.get('/me', json.token)).json.token).toMatchObject({ name: 'nightly export' });
    });

    it('Invalid token.: is not what an expired token hears', async () => {
      const token = await plain.token();
      plain.clock.advance(30 * DAY_MS);
      refused(await plain.get('/me', token), 401, 'token_expired');
      refused(await plain.get('/me', 'unknown'), 401, 'token_invalid');
    });

    it('Deletes expired tokens: by prune, also those of users who stay away', () =>
      onADatabaseOfItsOwn(environment, async (own) => {
        const app = await own.boot({ options: { lifespan: '10h', prune: { retention: '1h' } } });
        const [gone, kept] = [await app.createUser(), await app.createUser()];
        await app.tokens.issue(gone.id);
        app.clock.advance(HOUR_MS);
        await app.tokens.issue(kept.id);
        app.clock.advance(10 * HOUR_MS + 1);
        await app.tokens.prune();
        const { manager } = app.dataSource;
        expect(await manager.countBy(Token, { userId: gone.id })).toBe(0);
        expect(await manager.countBy(Token, { userId: kept.id })).toBe(1);
      }));

    it('token_key: the token begins with the id of its row, and that is all of it in the table', async () => {
      const user = await plain.createUser();
      const { token, plainText } = await plain.tokens.issue(user.id);
      const bytes = Buffer.from(plainText.slice('ext_'.length), 'base64url');
      expect(bytes.subarray(0, 16).toString('hex')).toBe(token.id.replaceAll('-', ''));
      const dump = JSON.stringify((await plain.dump()).filter((row) => row.user_id === user.id));
      expect(dump).not.toContain(plainText.slice('ext_'.length + 22, -6));
      expect(dump).not.toContain([...bytes.subarray(16, 48)].join());
    });

    it('Live tokens of knox: are refused, and their digests cannot be imported', async () => {
      const user = await sanctum.users.create(`knox-${drfKey()}`, null);
      const knoxToken = randomBytes(32).toString('hex');
      const digest = createHash('sha512').update(knoxToken).digest('hex');
      const created = new Date(sanctum.clock.now);
      await expect(sanctum.tokens.import([{ userId: user.id, digest, created }])).rejects.toThrow('digest');
      refused(await sanctum.get('/me', knoxToken), 401, 'token_invalid');
    });
  });

  itHasATestForEachRowBelow('django-rest-knox');
});
