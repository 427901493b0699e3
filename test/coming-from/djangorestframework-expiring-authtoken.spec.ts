import { Controller, Get } from '@nestjs/common';
import { ExpiringTokenModule, Token } from 'nestjs-expiring-token';
import { beforeAll, describe, expect, it } from 'vitest';
import { onOneEnvironment, PASSWORD, type TestApp } from '../fixtures/app.js';
import { itHasATestForEachRowBelow } from '../fixtures/documented-rows.js';
import {
  at,
  DAY_MS,
  DRF_OPTIONS,
  drfKey,
  login,
  obtain,
  refused,
  withScheme,
  onADatabaseOfItsOwn,
} from '../fixtures/predecessors.js';

describe('Coming from djangorestframework-expiring-authtoken', () => {
  // Databases have no part in these options: their own specs show them on each database.
  onOneEnvironment((environment) => {
    /** With default options. */
    let plain: TestApp;
    /** With the options of a project that comes from DRF. */
    let drf: TestApp;
    beforeAll(async () => {
      plain = await environment.boot();
      drf = await environment.boot({ options: DRF_OPTIONS });
    });

    it('EXPIRING_TOKEN_LIFESPAN: is lifespan, 30 days by default, and counts for tokens already issued', async () => {
      const token = await plain.token();
      expect((await plain.get('/auth/token', token)).json.expiresAt).toBe(at(plain, 30 * DAY_MS));
      const shorter = await environment.boot({ options: { lifespan: '25d' }, clock: plain.clock });
      plain.clock.advance(25 * DAY_MS - 1);
      expect((await shorter.get('/me', token)).status).toBe(200);
      plain.clock.advance(1);
      refused(await shorter.get('/me', token), 401, 'token_expired');
      expect((await plain.get('/me', token)).status).toBe(200);
      plain.clock.advance(5 * DAY_MS);
      refused(await plain.get('/me', token), 401, 'token_expired');
    });

    it('ExpiringTokenAuthentication: is the guard, of one controller or of all routes', async () => {
      refused(await plain.get('/me'), 401, 'token_missing');
      @Controller('unguarded')
      class UnguardedController {
        @Get()
        get() {
          return {};
        }
      }
      const [one, all] = await Promise.all(
        [false, true].map((globalGuard) =>
          environment.boot({ options: { globalGuard }, controllers: [UnguardedController] }),
        ),
      );
      expect((await one!.get('/unguarded')).status).toBe(200);
      refused(await all!.get('/unguarded'), 401, 'token_missing');
      expect((await all!.get('/unguarded', await all!.token())).status).toBe(200);
    });

    it('Authorization: Token …: is read where schemes says so', async () => {
      expect((await withScheme(drf, 'Token', await drf.token())).status).toBe(200);
      expect((await withScheme(drf, 'Bearer', await drf.token())).status).toBe(200);
      refused(await withScheme(plain, 'Token', await plain.token()), 401, 'token_missing');
    });

    it('obtain_expiring_auth_token: is obtain-token, which with a secret returns the live token as it is', async () => {
      const { username } = await drf.createUser();
      const first = await obtain(drf, username);
      expect(first.status).toBe(200);
      drf.clock.advance(25 * DAY_MS - 1);
      expect((await obtain(drf, username)).json.token).toBe(first.json.token);
      drf.clock.advance(1);
      const second = await obtain(drf, username);
      expect(second.json.token).not.toBe(first.json.token);
      expect((await withScheme(drf, 'Token', second.json.token)).status).toBe(200);

      const other = await plain.createUser();
      const replaced = (await obtain(plain, other.username)).json.token;
      await obtain(plain, other.username);
      refused(await plain.get('/me', replaced), 401, 'token_invalid');
    });

    it('{"token": …}: is in the answer, and more beside it', async () => {
      const { username } = await drf.createUser();
      expect((await obtain(drf, username)).json).toEqual({
        token: expect.any(String),
        tokenType: 'Bearer',
        expiresIn: (25 * DAY_MS) / 1000,
        expiresAt: at(drf, 25 * DAY_MS),
        deviceId: expect.any(String),
      });
    });

    it('Credentials in a form: are 400', async () => {
      const { username } = await drf.createUser();
      const form = new URLSearchParams({ username, password: PASSWORD }).toString();
      const answer = await drf.send('/auth/obtain-token', {
        method: 'POST',
        headers: [['Content-Type', 'application/x-www-form-urlencoded']],
        rawBody: form,
      });
      refused(answer, 400, 'validation_failed', 'Content-Type must be application/json');
    });

    it('Wrong credentials: are 401, in the same words', async () => {
      const { username } = await drf.createUser();
      const answer = await drf.post('/auth/obtain-token', { username, password: 'wrong' });
      refused(answer, 401, 'credentials_invalid', 'Unable to log in with provided credentials');
    });

    it('A missing field: is 400 and named', async () => {
      const answer = await drf.post('/auth/obtain-token', { username: 'ann' });
      refused(answer, 400, 'validation_failed');
      expect(answer.json.message).toContain('password');
    });

    it('throttle_classes: are loginThrottle, on by default', () =>
      onADatabaseOfItsOwn(environment, async (own) => {
        const throttled = await own.boot({ module: [ExpiringTokenModule.forRoot()] });
        const unlimited = await own.boot({ options: { loginThrottle: false } });
        for (const [app, last] of [
          [throttled, 429],
          [unlimited, 401],
        ] as const) {
          const { username } = await app.createUser();
          const statuses: number[] = [];
          for (let attempt = 0; attempt < 11; attempt++) statuses.push((await app.login(username, 'wrong')).status);
          expect(statuses, `last status ${last}`).toEqual([...Array.from({ length: 10 }, () => 401), last]);
        }
      }));

    it('Invalid token: is 401, in the same words', async () => {
      refused(await withScheme(drf, 'Token', drfKey()), 401, 'token_invalid', 'Invalid token');
    });

    it('User inactive or deleted: is 401, in the same words, whether the token has expired or not', async () => {
      const user = await drf.createUser();
      const token = await drf.token(user.id);
      await drf.users.setActive(user.id, false);
      refused(await withScheme(drf, 'Token', token), 401, 'user_inactive', 'User inactive or deleted');
      drf.clock.advance(25 * DAY_MS);
      refused(await withScheme(drf, 'Token', token), 401, 'user_inactive', 'User inactive or deleted');
    });

    it('Token has expired: is 401, or 400 with expiredStatus, in the same words', async () => {
      const token = await drf.token();
      drf.clock.advance(25 * DAY_MS);
      refused(await withScheme(drf, 'Token', token), 400, 'token_expired', 'Token has expired');
      const other = await plain.token();
      plain.clock.advance(30 * DAY_MS);
      refused(await plain.get('/me', other), 401, 'token_expired', 'Token has expired');
    });

    it('A request without a token: is 401, unless the route says otherwise', async () => {
      refused(await drf.get('/me'), 401, 'token_missing', 'Authentication credentials were not provided');
      expect((await drf.get('/optional')).json).toEqual({ id: null });
      expect((await drf.get('/public', 'not a token')).json).toEqual({ public: true });
    });

    it('ExpiringToken: is the entity Token', async () => {
      const user = await plain.createUser();
      const { token } = await plain.tokens.issue(user.id);
      const row = await plain.dataSource.getRepository(Token).findOneByOrFail({ userId: user.id });
      expect(row).toEqual(token);
      expect(plain.tokens.expiryOf(row)).toEqual(new Date(plain.clock.now + 30 * DAY_MS));
    });

    it('One token a user: is what obtain-token keeps; login gives each client its own', async () => {
      const user = await drf.createUser();
      const [first, second] = [await obtain(drf, user.username), await obtain(drf, user.username)];
      expect(second.json.token).toBe(first.json.token);
      const [phone, laptop] = [await login(drf, user.username), await login(drf, user.username)];
      expect(new Set([first.json.token, phone.token, laptop.token]).size).toBe(3);
      await drf.post('/auth/logout', undefined, phone.token);
      refused(await drf.get('/me', phone.token), 401, 'token_invalid');
      expect((await drf.get('/me', laptop.token)).status).toBe(200);
      expect((await drf.get('/me', first.json.token)).status).toBe(200);
    });

    it('Keys in clear: are nowhere, those of imported tokens neither', async () => {
      const user = await drf.createUser();
      const key = drfKey();
      await drf.tokens.import([{ userId: user.id, key, created: new Date(drf.clock.now) }]);
      const { plainText } = await drf.tokens.issue(user.id);
      const dump = JSON.stringify(await drf.dump());
      const bytes = (text: string) => JSON.stringify([...Buffer.from(text)]);
      for (const [name, token] of Object.entries({ key, plainText })) {
        expect(dump, name).not.toContain(token);
        expect(dump, name).not.toContain(bytes(token).slice(1, -1));
      }
      expect(dump).not.toContain([...Buffer.from(key, 'hex')].join());
    });

    it('Live tokens: are imported, and expire when they would have expired', async () => {
      const user = await drf.createUser();
      const tokens = [
        { userId: user.id, key: drfKey(), created: new Date(drf.clock.now - 24 * DAY_MS) },
        { userId: user.id, key: drfKey(), created: new Date(drf.clock.now - 26 * DAY_MS) },
      ] as const;
      expect(await drf.tokens.import(tokens)).toBe(2);
      expect(await drf.tokens.import(tokens)).toBe(0);
      const [valid, expired] = tokens.map(({ key }) => key);
      expect((await withScheme(drf, 'Token', valid!)).json.user.username).toBe(user.username);
      refused(await withScheme(drf, 'Token', expired!), 400, 'token_expired');
      drf.clock.advance(DAY_MS);
      refused(await withScheme(drf, 'Token', valid!), 400, 'token_expired');
    });
  });

  itHasATestForEachRowBelow('djangorestframework-expiring-authtoken');
});
