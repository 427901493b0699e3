import { beforeAll, describe, expect, it, vi } from 'vitest';
import { onEveryEnvironment, PASSWORD, type TestApp } from './fixtures/app.js';
import { bearer } from './fixtures/http.js';

const DAY_MS = 24 * 60 * 60 * 1000;

describe('The devices of a user', () => {
  onEveryEnvironment((environment) => {
    let app: TestApp;
    beforeAll(async () => {
      app = await environment.boot();
    });

    const login = async (username: string, deviceName: string, userAgent = 'Browser 1') =>
      (
        await app.send('/auth/login', {
          method: 'POST',
          headers: [['User-Agent', userAgent]],
          body: { username, password: PASSWORD, deviceName },
        })
      ).json;

    it('are listed newest first, without expired ones, with the current one marked and without secrets', async () => {
      const user = await app.createUser();
      const startedAt = app.clock.now;
      await app.tokens.issue(user.id, { name: 'short', lifespan: 1500 });
      app.clock.advance(1000);
      const laptop = await login(user.username, 'laptop');
      app.clock.advance(1000);
      const phone = await login(user.username, 'phone', 'Browser 2');
      // The list may be read before or after the last use of its own request is written.
      await app.get('/auth/devices', laptop.token);
      await vi.waitUntil(async () => (await app.tokens.list(user.id)).some(({ lastUsedAt }) => lastUsedAt));
      const { status, json, headers, text } = await app.get('/auth/devices', laptop.token);
      expect(status).toBe(200);
      expect(headers).toMatchObject({ 'cache-control': 'no-store', pragma: 'no-cache' });
      const device = (id: string, name: string, userAgent: string, createdAt: number, current: boolean) => ({
        id,
        name,
        userAgent,
        createdAt: new Date(createdAt).toISOString(),
        lastUsedAt: current ? new Date(startedAt + 2000).toISOString() : null,
        expiresAt: new Date(createdAt + 30 * DAY_MS).toISOString(),
        current,
      });
      expect(json).toEqual([
        device(phone.deviceId, 'phone', 'Browser 2', startedAt + 2000, false),
        device(laptop.deviceId, 'laptop', 'Browser 1', startedAt + 1000, true),
      ]);
      for (const [index, secret] of [laptop.token, phone.token, 'digest'].entries())
        expect(text, `secret ${index}`).not.toContain(secret);
    });

    it('include the current one at GET /auth/token', async () => {
      const user = await app.createUser();
      const { token, deviceId } = await login(user.username, 'laptop');
      const { status, json, headers } = await app.get('/auth/token', token);
      expect(status).toBe(200);
      expect(headers['cache-control']).toBe('no-store');
      expect(json).toEqual({
        deviceId,
        name: 'laptop',
        createdAt: new Date(app.clock.now).toISOString(),
        expiresAt: new Date(app.clock.now + 30 * DAY_MS).toISOString(),
        lastUsedAt: null,
        scopes: null,
      });
    });

    it('can be renamed with PATCH /auth/devices/:id', async () => {
      const user = await app.createUser();
      const { token, deviceId } = await login(user.username, 'laptop');
      const rename = (body: unknown) =>
        app.send(`/auth/devices/${deviceId}`, { method: 'PATCH', headers: bearer(token), body });
      await app.get('/me', token);
      await app.usesWritten();
      const { status, json } = await rename({ name: 'work\u0000 laptop' });
      expect(status).toBe(200);
      expect(json).toEqual({ ...(await app.get('/auth/devices', token)).json[0] });
      expect(json).toMatchObject({ id: deviceId, name: 'work laptop', current: true });
      expect((await rename({ name: 'work laptop' })).status).toBe(200);
      for (const body of [{}, { name: 7 }, { name: null }, { name: ['a'] }, { name: '' }, { name: ' \u0007' }, []]) {
        expect((await rename(body)).json.code, JSON.stringify(body)).toBe('validation_failed');
      }
      expect((await app.get('/auth/token', token)).json.name).toBe('work laptop');
    });

    const latin1 = (text: string) => Buffer.from(text).toString('latin1');

    it.each([
      ['of 300 code points cut at 255', latin1('📱'.repeat(300)), '📱'.repeat(255)],
      ['that is not UTF-8 as none', 'Browser \u00e9', null],
      ['with control characters without them', latin1('a\u0085b\tc\u009fd\u2028e\u202ef'), 'abcdef'],
      ['of control characters as none', latin1('\u0085\u202e'), null],
    ])('show a user agent %s', async (_, sent, shown) => {
      const { token } = await login((await app.createUser()).username, 'laptop', sent);
      const { status, json } = await app.get('/auth/devices', token);
      expect(status).toBe(200);
      expect(json).toMatchObject([{ name: 'laptop', userAgent: shown }]);
    });

    it.each([
      ['of 300 code points cut at 255', '📱'.repeat(300), '📱'.repeat(255)],
      ['with a mark that turns its direction without it', 'a\u202eb', 'ab'],
      ['with half a character as one that stands for it', 'a\ud800', 'a\ufffd'],
    ])('show a name that was set with PATCH, %s', async (_, name, shown) => {
      const { token: row, plainText } = await app.tokens.issue((await app.createUser()).id);
      const headers = bearer(plainText);
      const renamed = await app.send(`/auth/devices/${row.deviceId}`, { method: 'PATCH', headers, body: { name } });
      expect([renamed.status, renamed.json.name]).toEqual([200, shown]);
      expect((await app.get('/auth/devices', plainText)).json).toMatchObject([{ id: row.deviceId, name: shown }]);
    });

    it('can be revoked one at a time with DELETE /auth/devices/:id', async () => {
      const user = await app.createUser();
      const [laptop, phone] = [await login(user.username, 'laptop'), await login(user.username, 'phone')];
      const path = `/auth/devices/${phone.deviceId}`;
      const { status, text } = await app.send(path, { method: 'DELETE', headers: bearer(laptop.token) });
      expect({ status, text }).toEqual({ status: 204, text: '' });
      expect((await app.get('/me', phone.token)).json.code).toBe('token_invalid');
      expect((await app.get('/me', laptop.token)).status).toBe(200);
    });

    it('are not found after they expired', async () => {
      const user = await app.createUser();
      const { token } = await app.tokens.issue(user.id, { lifespan: 1 });
      app.clock.advance(1);
      const validToken = await app.token(user.id);
      for (const [method, body] of [['DELETE'], ['PATCH', { name: 'x' }]] as const) {
        const answer = await app.send(`/auth/devices/${token.deviceId}`, { method, headers: bearer(validToken), body });
        expect(answer.json.code, method).toBe('device_not_found');
      }
      expect(await app.tokens.revoke(user.id, token.deviceId)).toBe(false);
    });

    it('do not come back by a longer lifespan if they were revoked after they expired', async () => {
      const { clock } = app;
      const longer = await environment.boot({ options: { lifespan: '90d' }, clock });
      const user = await app.createUser();
      const { plainText, token } = await app.tokens.issue(user.id);
      clock.advance(30 * DAY_MS);
      expect((await longer.get('/me', plainText)).status).toBe(200);
      expect(await app.tokens.revoke(user.id, token.deviceId)).toBe(false);
      expect((await longer.get('/me', plainText)).json.code).toBe('token_invalid');
    });

    it('are not found with the same bytes, whether they belong to another user or do not exist', async () => {
      const [user, other] = [await app.createUser(), await app.createUser()];
      const own = await login(user.username, 'laptop');
      const foreign = await login(other.username, 'laptop');
      const unknown = '01b8e094-9b2e-7000-8000-000000000000';
      const ids = [
        foreign.deviceId,
        unknown,
        own.deviceId.toUpperCase(),
        own.deviceId.replaceAll('-', ''),
        '1',
        "'",
        '%00',
        `${own.deviceId}.0`,
      ];
      for (const method of ['DELETE', 'PATCH']) {
        const answers = [];
        for (const id of ids) {
          const body = method === 'PATCH' ? { name: 'x' } : undefined;
          answers.push(await app.send(`/auth/devices/${id}`, { method, headers: bearer(own.token), body }));
        }
        for (const [index, { status, json }] of answers.entries()) {
          expect({ status, ...json }, `${method}, answer ${index}`).toEqual({
            status: 404,
            statusCode: 404,
            error: 'Not Found',
            message: 'Device not found',
            code: 'device_not_found',
          });
        }
        expect(new Set(answers.map(({ text }) => text)).size, method).toBe(1);
      }
      expect((await app.get('/me', foreign.token)).status).toBe(200);
      expect((await app.get('/auth/token', foreign.token)).json.name).toBe('laptop');
    });

    it('are accessible only with a token, on every route', async () => {
      for (const [method, path] of [
        ['GET', '/auth/devices'],
        ['PATCH', '/auth/devices/1'],
        ['DELETE', '/auth/devices/1'],
        ['GET', '/auth/token'],
        ['POST', '/auth/logout'],
        ['POST', '/auth/logout-all'],
      ] as const) {
        const { status, json, headers } = await app.send(path, { method });
        expect({ status, code: json.code, challenge: headers['www-authenticate'] }, `${method} ${path}`).toEqual({
          status: 401,
          code: 'token_missing',
          challenge: 'Bearer realm="api"',
        });
      }
    });
  });
});

describe('Logout', () => {
  onEveryEnvironment((environment) => {
    let app: TestApp;
    beforeAll(async () => {
      app = await environment.boot();
    });

    it('revokes the token immediately, and a second logout is rejected like an unknown token', async () => {
      const token = await app.token();
      const first = await app.post('/auth/logout', undefined, token);
      expect({ status: first.status, text: first.text }).toEqual({ status: 204, text: '' });
      for (const [index, answer] of [
        await app.get('/me', token),
        await app.post('/auth/logout', undefined, token),
      ].entries()) {
        expect(answer, `answer ${index}`).toMatchObject({ status: 401, json: { code: 'token_invalid' } });
      }
    });

    it('from all devices revokes all devices of the user and no other, and counts those that had not expired', async () => {
      const [user, other] = [await app.createUser(), await app.createUser()];
      await app.tokens.issue(user.id, { lifespan: 1 });
      app.clock.advance(1);
      const tokens = [await app.token(user.id), await app.token(user.id), await app.token(user.id)];
      const foreign = await app.token(other.id);
      const { status, json } = await app.post('/auth/logout-all', undefined, tokens[0]);
      expect({ status, json }).toEqual({ status: 200, json: { revoked: 3 } });
      for (const [index, token] of tokens.entries())
        expect((await app.get('/me', token)).json.code, `token ${index}`).toBe('token_invalid');
      expect((await app.get('/me', foreign)).status).toBe(200);
    });

    it('from all other devices keeps the current device', async () => {
      const user = await app.createUser();
      const [first, second] = [await app.token(user.id), await app.token(user.id)];
      expect((await app.post('/auth/logout-all', { keepCurrent: true }, first)).json).toEqual({ revoked: 1 });
      expect((await app.get('/me', first)).status).toBe(200);
      expect((await app.get('/me', second)).status).toBe(401);
      expect((await app.post('/auth/logout-all', { keepCurrent: 'yes' }, first)).json).toMatchObject({
        message: 'keepCurrent must be true or false',
        code: 'validation_failed',
      });
      const chunked = await app.send('/auth/logout-all', {
        method: 'POST',
        headers: [...bearer(first), ['Transfer-Encoding', 'chunked']],
        rawBody: '{"keepCurrent":true}',
      });
      expect([400, 415]).toContain(chunked.status);
      expect((await app.get('/me', first)).status).toBe(200);
      expect((await app.post('/auth/logout-all', { userId: 'x' }, first)).json).toEqual({ revoked: 1 });
    });
  });
});
