import { beforeAll, describe, expect, it } from 'vitest';
import { onOneEnvironment, type TestApp } from '../fixtures/app.js';
import { itHasATestForEachRowBelow } from '../fixtures/documented-rows.js';
import {
  at,
  DAY_MS,
  DRF_OPTIONS,
  drfKey,
  HOUR_MS,
  login,
  MINUTE_MS,
  obtain,
  refused,
  SECRET,
  start,
  use,
  withScheme,
} from '../fixtures/predecessors.js';

describe('Coming from a hand-written ExpiringTokenAuthentication', () => {
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

    /** Expects that tokens of an application are valid for a day, to the millisecond. */
    async function livesForADay(app: TestApp): Promise<void> {
      const token = await app.token();
      app.clock.advance(DAY_MS - 1);
      expect((await app.get('/me', token)).status).toBe(200);
      app.clock.advance(1);
      refused(await app.get('/me', token), 401, 'token_expired');
    }

    it('timedelta(hours=24): is the lifespan 24h, alone or among options', async () => {
      await livesForADay(await environment.boot({ options: '24h' }));
      await livesForADay(await environment.boot({ options: { lifespan: '24h' } }));
    });

    it('TOKEN_EXPIRE_TIME: is a lifespan with its unit, and refused without one', async () => {
      await livesForADay(await environment.boot({ options: { lifespan: '1d' } }));
      await expect(start({ lifespan: '24' })).rejects.toThrow('lifespan: "24" is not allowed');
    });

    it('TOKEN_TTL: is a lifespan in milliseconds, not in seconds', async () => {
      await livesForADay(await environment.boot({ options: { lifespan: 86_400_000 } }));
      const short = await environment.boot({ options: { lifespan: 86_400 } });
      const token = await short.token();
      short.clock.advance(86_400);
      refused(await short.get('/me', token), 401, 'token_expired');
    });

    it("keyword = 'Bearer': is the default, and schemes takes others", async () => {
      expect((await withScheme(plain, 'Bearer', await plain.token())).status).toBe(200);
      const odd = await environment.boot({ options: { schemes: ['Key'] } });
      expect((await withScheme(odd, 'Key', await odd.token())).status).toBe(200);
      refused(await withScheme(odd, 'Bearer', await odd.token()), 401, 'token_missing');
    });

    it('Login renews created: with obtain renew', async () => {
      const app = await environment.boot({ options: { lifespan: '24h', secret: SECRET, obtain: 'renew' } });
      const { username } = await app.createUser();
      const first = (await obtain(app, username)).json;
      app.clock.advance(20 * HOUR_MS);
      expect((await obtain(app, username)).json).toMatchObject({ token: first.token, expiresAt: at(app, DAY_MS) });
      app.clock.advance(20 * HOUR_MS);
      expect((await app.get('/me', first.token)).status).toBe(200);
    });

    it('Login replaces an expired token: with obtain reuse, and no other', async () => {
      const app = await environment.boot({ options: { lifespan: '24h', secret: SECRET, obtain: 'reuse' } });
      const { username } = await app.createUser();
      const first = (await obtain(app, username)).json;
      app.clock.advance(DAY_MS - 1);
      expect((await obtain(app, username)).json).toMatchObject({ token: first.token, expiresAt: first.expiresAt });
      app.clock.advance(1);
      expect((await obtain(app, username)).json.token).not.toBe(first.token);
    });

    it('Login replaces every token: without a secret', async () => {
      const { username } = await plain.createUser();
      const first = (await obtain(plain, username)).json;
      const second = (await obtain(plain, username)).json;
      refused(await plain.get('/me', first.token), 401, 'token_invalid');
      expect((await plain.get('/me', second.token)).status).toBe(200);
    });

    it('Each request renews created: with idle, up to the lifespan', async () => {
      const app = await environment.boot({ options: { lifespan: '2h', idle: '30m' } });
      const used = await app.token();
      const unused = await app.token();
      for (let minutes = 20; minutes < 120; minutes += 20) {
        app.clock.advance(20 * MINUTE_MS);
        await use(app, used);
      }
      refused(await app.get('/me', unused), 401, 'token_expired');
      app.clock.advance(20 * MINUTE_MS);
      refused(await app.get('/me', used), 401, 'token_expired');
    });

    it('Many tokens a user: by login, each with a device of its own', async () => {
      const { username } = await plain.createUser();
      const logins = [await login(plain, username), await login(plain, username), await login(plain, username)];
      expect(new Set(logins.map(({ token }) => token)).size).toBe(3);
      for (const [index, { token }] of logins.entries())
        expect((await plain.get('/auth/devices', token)).json, `login ${index}`).toHaveLength(3);
    });

    it('Tokens that never expire: are issued with the lifespan null', async () => {
      const user = await plain.createUser();
      const { plainText } = await plain.tokens.issue(user.id, { name: 'sensor 7', lifespan: null });
      plain.clock.advance(20 * 365 * DAY_MS);
      expect((await plain.get('/auth/token', plainText)).json).toMatchObject({ name: 'sensor 7', expiresAt: null });
    });

    it('A token for each new user: is issued after the user is created', async () => {
      const user = await plain.users.create(`new-${drfKey()}`, null);
      const { plainText } = await plain.tokens.issue(user.id);
      expect((await plain.get('/me', plainText)).json.user.id).toBe(user.id);
    });

    it('request.auth.delete(): is logout', async () => {
      const { username } = await plain.createUser();
      const { token } = await login(plain, username);
      expect((await plain.post('/auth/logout', undefined, token)).status).toBe(204);
      refused(await plain.get('/me', token), 401, 'token_invalid');
    });

    it('Token.objects.filter(user=user).delete(): is logout-all, or revokeAll', async () => {
      const user = await plain.createUser();
      const tokens = [await plain.token(user.id), await plain.token(user.id)];
      expect((await plain.post('/auth/logout-all', undefined, tokens[0])).json).toEqual({ revoked: 2 });
      for (const [index, token] of tokens.entries()) {
        refused(await plain.get('/me', token), 401, 'token_invalid', undefined, `token ${index}`);
      }
      const another = await plain.token(user.id);
      expect(await plain.tokens.revokeAll(user.id)).toBe(1);
      refused(await plain.get('/me', another), 401, 'token_invalid');
    });

    it('Deletes an expired token: not before it is pruned, and no refusal writes', async () => {
      const app = await environment.boot({ options: '24h' });
      const user = await app.createUser();
      const token = await app.token(user.id);
      const rows = async () => (await app.dump()).filter(({ user_id }) => user_id === user.id);
      app.clock.advance(DAY_MS);
      const before = await rows();
      for (let request = 0; request < 3; request++) {
        refused(await app.get('/me', token), 401, 'token_expired', undefined, `request ${request}`);
      }
      expect(await rows()).toEqual(before);
      app.clock.advance(8 * DAY_MS);
      expect(await app.tokens.prune()).toBeGreaterThan(0);
      refused(await app.get('/me', token), 401, 'token_invalid');
    });

    it('A changed password: revokes all tokens, or all but those of one device', async () => {
      const user = await plain.createUser();
      const [here, there] = [await login(plain, user.username), await login(plain, user.username)];
      await plain.users.changePassword(user.id, 'another one', { except: here.deviceId });
      expect((await plain.get('/me', here.token)).status).toBe(200);
      refused(await plain.get('/me', there.token), 401, 'token_invalid');
      await plain.users.changePassword(user.id, 'a third one');
      refused(await plain.get('/me', here.token), 401, 'token_invalid');
    });

    it('Live tokens of your own model: are imported, several of a user and each with a lifespan of its own', async () => {
      const user = await drf.createUser();
      const [short, endless] = [drfKey(), drfKey()];
      const created = new Date(drf.clock.now);
      await drf.tokens.import([
        { userId: user.id, key: short, created, lifespan: '24h', name: 'telephone' },
        { userId: user.id, key: endless, created, lifespan: null, name: 'sensor 7' },
      ]);
      drf.clock.advance(DAY_MS);
      refused(await withScheme(drf, 'Token', short), 400, 'token_expired');
      drf.clock.advance(365 * DAY_MS);
      expect((await withScheme(drf, 'Token', endless)).json.token.name).toBe('sensor 7');
    });
  });

  itHasATestForEachRowBelow('A hand-written ExpiringTokenAuthentication');
});
