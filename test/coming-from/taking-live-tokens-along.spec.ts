import { beforeAll, describe, expect, it } from 'vitest';
import { onEveryDatabase, type TestApp } from '../fixtures/app.js';
import {
  DAY_MS,
  drfKey,
  HOUR_MS,
  obtain,
  refused,
  sanctumToken,
  SECRET,
  withScheme,
} from '../fixtures/predecessors.js';

describe('Taking live tokens along', () => {
  onEveryDatabase((environment) => {
    let app: TestApp;
    beforeAll(async () => {
      app = await environment.boot({
        options: { secret: SECRET, schemes: ['Bearer', 'Token'], imported: ['drf', 'sanctum'] },
      });
    });

    const now = () => new Date(app.clock.now);

    it('leaves alone what is there already, also what has been renamed or used since', async () => {
      const user = await app.createUser();
      const key = drfKey();
      const token = { userId: user.id, key, created: now(), name: 'before' };
      expect(await app.tokens.import([token])).toBe(1);
      const [device] = await app.tokens.list(user.id);
      await app.tokens.rename(user.id, device!.id, 'after');
      expect(await app.tokens.import([token, { ...token, key: drfKey() }])).toBe(1);
      expect((await withScheme(app, 'Token', key)).json.token).toMatchObject({ deviceId: device!.id, name: 'after' });
    });

    it('stops at what it cannot take, naming its place and field, and keeps what came before', async () => {
      const user = await app.createUser();
      const good = () => ({ userId: user.id, key: drfKey(), created: now() });
      const SECRET_LOOKING = 'f'.repeat(39);
      const bad: [object, string][] = [
        [{ key: SECRET_LOOKING }, 'key must be 40 hexadecimal digits'],
        [{ key: drfKey().toUpperCase() }, 'key must be 40 hexadecimal digits'],
        [{ key: undefined, digest: SECRET_LOOKING }, 'digest must be 64 hexadecimal digits'],
        [{ digest: 'a'.repeat(64) }, 'key or digest must be given, and not both'],
        [{ key: undefined }, 'key or digest must be given, and not both'],
        [{ created: new Date(Number.NaN) }, 'created must be a Date'],
        [{ created: new Date(-1) }, 'created must be a Date'],
        [{ created: '2026-01-01' }, 'created must be a Date'],
        [{ lastUsedAt: new Date(8.64e15) }, 'lastUsedAt must be a Date'],
        [{ userId: '' }, 'userId must be a string of 1 to 255 characters'],
        [{ lifespan: '200y' }, 'lifespan must be a duration'],
        [{ lifespan: SECRET_LOOKING }, 'lifespan must be a duration'],
      ];
      for (const [index, [wrong, problem]] of bad.entries()) {
        const importing = app.tokens.import([good(), { ...good(), ...wrong }, good()]);
        const error: Error = await importing.then(
          () => new Error('imported'),
          (thrown: Error) => thrown,
        );
        expect(error.message, problem).toContain(`tokens[1]: ${problem}`);
        expect(error.message, problem).not.toContain(SECRET_LOOKING);
        expect(await app.tokens.list(user.id), problem).toHaveLength(index + 1);
      }
    });

    it('takes any iterable, also an asynchronous one', async () => {
      const user = await app.createUser();
      const keys = Array.from({ length: 100 }, drfKey);
      function* some() {
        for (const key of keys.slice(0, 60)) yield { userId: user.id, key, created: now() };
      }
      async function* all() {
        for (const key of keys) yield await Promise.resolve({ userId: user.id, key, created: now() });
      }
      expect(await app.tokens.import(some())).toBe(60);
      expect(await app.tokens.import(all())).toBe(40);
      expect(await app.tokens.list(user.id)).toHaveLength(100);
    });

    it('brings back what was revoked since: the last import comes before the users', async () => {
      const user = await app.createUser();
      const token = { userId: user.id, key: drfKey(), created: now() };
      await app.tokens.import([token]);
      await app.post('/auth/logout', undefined, token.key);
      refused(await app.get('/me', token.key), 401, 'token_invalid');
      expect(await app.tokens.import([token])).toBe(1);
      expect((await app.get('/me', token.key)).status).toBe(200);
    });

    it("they have the module's lifespan and idle, unless import is given their own", async () => {
      const short = await environment.boot({
        options: { refresh: {}, idle: '30d', imported: ['drf'] },
        clock: app.clock,
      });
      const user = await short.createUser();
      const [bare, withLifespan, withUse] = [drfKey(), drfKey(), drfKey()];
      const token = { userId: user.id, created: new Date(app.clock.now - 40 * DAY_MS) };
      await short.tokens.import([
        { ...token, key: bare, created: new Date(app.clock.now - HOUR_MS) },
        { ...token, key: withLifespan, lifespan: '90d' },
        { ...token, key: withUse, lifespan: '90d', lastUsedAt: now() },
      ]);
      refused(await short.get('/me', bare), 401, 'token_expired');
      refused(await short.get('/me', withLifespan), 401, 'token_expired');
      expect((await short.get('/me', withUse)).status).toBe(200);
    });

    it('do not keep to the limit, which the next login counts them by', async () => {
      const limited = await environment.boot({
        options: { limit: { perUser: 2, policy: 'reject' }, imported: ['drf'] },
        clock: app.clock,
      });
      const { id: userId, username } = await limited.createUser();
      const tokens = Array.from({ length: 3 }, () => ({ userId, key: drfKey(), created: now() }));
      expect(await limited.tokens.import(tokens)).toBe(3);
      for (const [index, { key }] of tokens.entries())
        expect((await limited.get('/me', key)).status, `token ${index}`).toBe(200);
      refused(await limited.login(username), 403, 'limit_reached');
    });

    it('admits their shapes only where an option says so', async () => {
      const user = await app.createUser();
      const [key, other] = [drfKey(), sanctumToken()];
      await app.tokens.import([
        { userId: user.id, key, created: now() },
        { userId: user.id, digest: other.digest, created: now() },
      ]);
      const strict = await environment.boot({ options: { schemes: ['Bearer', 'Token'] }, clock: app.clock });
      for (const [shape, token] of Object.entries({ drf: key, sanctum: other.plainText })) {
        expect((await withScheme(app, 'Token', token)).status, shape).toBe(200);
        refused(await withScheme(strict, 'Token', token), 401, 'token_invalid', undefined, shape);
      }
    });

    it('a token of a user who is not there answers user_inactive', async () => {
      const key = drfKey();
      await app.tokens.import([{ userId: '4711', key, created: now() }]);
      refused(await withScheme(app, 'Token', key), 401, 'user_inactive');
    });

    it('makes devices that are listed and log out as any other', async () => {
      const user = await app.createUser();
      const [first, second] = [drfKey(), drfKey()];
      await app.tokens.import([
        { userId: user.id, key: first, created: now(), name: 'telephone' },
        { userId: user.id, key: second, created: now() },
      ]);
      const { json } = await app.get('/auth/devices', first);
      expect(json).toHaveLength(2);
      expect(json.find((device: any) => device.current)).toMatchObject({ name: 'telephone' });
      expect((await app.post('/auth/logout', undefined, first)).status).toBe(204);
      refused(await app.get('/me', first), 401, 'token_invalid');
      expect((await app.get('/me', second)).status).toBe(200);
      expect(await app.tokens.revokeAll(user.id)).toBe(1);
      refused(await app.get('/me', second), 401, 'token_invalid');
    });

    it('obtain-token gives a token beside them', async () => {
      const user = await app.createUser();
      const key = drfKey();
      await app.tokens.import([{ userId: user.id, key, created: now() }]);
      const { json } = await obtain(app, user.username);
      expect(json.token).not.toBe(key);
      expect((await app.get('/me', json.token)).status).toBe(200);
      expect((await app.get('/me', key)).status).toBe(200);
    });

    it('refuses what is no such token, naming it and never quoting it', async () => {
      const user = await app.createUser();
      const [key, { digest }] = [drfKey(), sanctumToken()];
      const good = { userId: user.id, created: now() };
      const bad: object[] = [
        good,
        { ...good, key, digest },
        { ...good, key: key.slice(1) },
        { ...good, key: `${key}00` },
        { ...good, digest: digest.slice(1) },
        { ...good, key, created: new Date(Number.NaN) },
        { ...good, key, lifespan: '30' },
        { created: now(), key },
      ];
      for (const token of bad) {
        const error = await app.tokens.import([token as never]).then(
          () => null,
          (thrown: unknown) => String(thrown),
        );
        expect(error, JSON.stringify(token)).not.toBeNull();
        expect(error, JSON.stringify(token)).not.toContain(key.slice(1));
        expect(error, JSON.stringify(token)).not.toContain(digest.slice(1));
      }
      expect(await app.tokens.list(user.id)).toEqual([]);
    });
  });
});
