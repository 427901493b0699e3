import { beforeAll, describe, expect, it } from 'vitest';
import { onEveryDatabase, PASSWORD, type TestApp } from './fixtures/app.js';

const SECRET = 'a secret of thirty-two bytes, or more';
const NEW_SECRET = 'another secret of thirty-two bytes, or more';
const HOUR_MS = 3_600_000;

const obtain = (app: TestApp, username: string, password = PASSWORD) =>
  app.post('/auth/obtain-token', { username, password });

/** The number of obtained tokens of a user that the guard accepts. */
async function liveCount(app: TestApp, answers: { json: { token: string } }[]): Promise<number> {
  const tokens = [...new Set(answers.map(({ json }) => json.token))];
  const statuses = await Promise.all(tokens.map(async (token) => (await app.get('/me', token)).status));
  return statuses.filter((status) => status === 200).length;
}

describe('POST /auth/obtain-token', () => {
  onEveryDatabase((environment) => {
    let replace: TestApp;
    let reuse: TestApp;
    let renew: TestApp;
    beforeAll(async () => {
      replace = await environment.boot({ options: '2h' });
      reuse = await environment.boot({ options: { lifespan: '2h', secret: SECRET } });
      renew = await environment.boot({ options: { lifespan: '2h', secret: SECRET, obtain: 'renew' } });
    });

    it('returns a token as a login does', async () => {
      const { username } = await replace.createUser();
      const { status, json, headers } = await obtain(replace, username);
      expect(status).toBe(200);
      expect(json).toEqual({
        token: expect.stringMatching(/^ext_[A-Za-z0-9_-]{70}$/),
        tokenType: 'Bearer',
        expiresIn: 7200,
        expiresAt: new Date(replace.clock.now + 2 * HOUR_MS).toISOString(),
        deviceId: expect.any(String),
      });
      expect(headers).toMatchObject({ 'cache-control': 'no-store', pragma: 'no-cache' });
      expect((await replace.get('/me', json.token)).json.user.username).toBe(username);
      expect((await obtain(replace, username, 'wrong')).json.code).toBe('credentials_invalid');
    });

    it('replaces the existing token without a secret', async () => {
      const { username } = await replace.createUser();
      const first = (await obtain(replace, username)).json;
      const second = (await obtain(replace, username)).json;
      expect(second.token).not.toBe(first.token);
      expect((await replace.get('/me', first.token)).json.code).toBe('token_invalid');
      expect((await replace.get('/me', second.token)).status).toBe(200);
    });

    it('returns the existing token unchanged with a secret', async () => {
      const { username } = await reuse.createUser();
      const first = (await obtain(reuse, username)).json;
      reuse.clock.advance(HOUR_MS);
      const second = (await obtain(reuse, username)).json;
      expect(second).toEqual({ ...first, expiresIn: 3600 });
    });

    it('renews the existing token if obtain is "renew"', async () => {
      const { username } = await renew.createUser();
      const first = (await obtain(renew, username)).json;
      renew.clock.advance(HOUR_MS);
      const second = (await obtain(renew, username)).json;
      expect(second).toEqual({ ...first, expiresAt: new Date(renew.clock.now + 2 * HOUR_MS).toISOString() });
      renew.clock.advance(1.5 * HOUR_MS);
      expect((await renew.get('/me', first.token)).status).toBe(200);
    });

    it('replaces an expired token, whatever the policy', async () => {
      for (const [policy, app] of Object.entries({ replace, reuse, renew })) {
        const { username } = await app.createUser();
        const first = (await obtain(app, username)).json;
        app.clock.advance(2 * HOUR_MS);
        const second = (await obtain(app, username)).json;
        expect(second.token, policy).not.toBe(first.token);
        expect(second.expiresIn, policy).toBe(7200);
        expect((await app.get('/me', second.token)).status, policy).toBe(200);
        expect((await app.get('/me', first.token)).status, policy).toBe(401);
      }
    });

    it('never restores a revoked token', async () => {
      const { username } = await reuse.createUser();
      const first = (await obtain(reuse, username)).json;
      expect((await reuse.post('/auth/logout', undefined, first.token)).status).toBe(204);
      const second = (await obtain(reuse, username)).json;
      expect(second.token).not.toBe(first.token);
      expect((await reuse.get('/me', first.token)).json.code).toBe('token_invalid');
    });

    it.each(['reuse', 'renew'] as const)(
      'replaces with %s a token of any secret but the first, whether that secret is still in the list or was removed',
      async (policy) => {
        const { clock } = reuse;
        const boot = (secret: string | string[]) =>
          environment.boot({ options: { lifespan: '2h', secret, obtain: policy }, clock });
        const { username } = await reuse.createUser();
        const first = (await obtain(reuse, username)).json;
        const rotated = await boot([NEW_SECRET, SECRET]);
        expect((await rotated.get('/me', first.token)).status).toBe(200);
        const second = (await obtain(rotated, username)).json;
        expect(second.deviceId).not.toBe(first.deviceId);
        expect((await rotated.get('/me', first.token)).json.code).toBe('token_invalid');
        expect((await obtain(rotated, username)).json).toEqual(second);
        const removed = await boot(NEW_SECRET);
        expect((await obtain(removed, username)).json).toEqual(second);
        const third = (await obtain(reuse, username)).json;
        expect(third.token).not.toBe(second.token);
        expect((await removed.get('/me', second.token)).json.code).toBe('token_invalid');
      },
    );

    it('replaces a token that was created without a secret', async () => {
      const { username } = await reuse.createUser();
      const unsigned = await environment.boot({ options: '2h', clock: reuse.clock });
      const first = (await obtain(unsigned, username)).json;
      expect((await obtain(reuse, username)).json.token).not.toBe(first.token);
      expect((await reuse.get('/me', first.token)).status).toBe(401);
    });

    it('does not change tokens of a login, and creates a device like any other', async () => {
      const { username } = await replace.createUser();
      const login = (await replace.login(username)).json;
      await obtain(replace, username);
      const obtained = (await obtain(replace, username)).json;
      expect((await replace.get('/me', login.token)).status).toBe(200);
      const devices = (await replace.get('/auth/devices', login.token)).json;
      expect(devices.map(({ id }: { id: string }) => id)).toEqual(
        expect.arrayContaining([login.deviceId, obtained.deviceId]),
      );
    });

    it('leaves one token and no error after fifty simultaneous requests', async () => {
      for (const [policy, app] of Object.entries({ replace, reuse, renew })) {
        const { username, id } = await app.createUser();
        const answers = await Promise.all(Array.from({ length: 50 }, () => obtain(app, username)));
        expect(
          answers.map(({ status }) => status),
          policy,
        ).toEqual(Array.from({ length: 50 }, () => 200));
        expect(await liveCount(app, answers), policy).toBe(1);
        expect(await app.tokens.list(id), policy).toHaveLength(1);
        if (app !== replace) expect(new Set(answers.map(({ json }) => json.token)).size, policy).toBe(1);
      }
    });

    it('leaves one token per user after simultaneous requests to two processes', async () => {
      const other = await environment.boot({ options: '2h', clock: replace.clock });
      const users = await Promise.all(Array.from({ length: 8 }, () => replace.createUser()));
      const requests = users.flatMap(({ id }) =>
        [replace, other, replace, other, replace, other].map((app) => app.tokens.obtain(id)),
      );
      await Promise.all(requests);
      for (const [index, { id }] of users.entries())
        expect(await replace.tokens.list(id), `user ${index}`).toHaveLength(1);
    });
  });
});
