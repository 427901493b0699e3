import { randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { DATABASE } from '../lib/expiring-token.constants.js';
import type { Database } from '../lib/database/database.js';
import { onEveryEnvironment, PASSWORD, type TestApp } from './fixtures/app.js';

const DAY_MS = 24 * 60 * 60 * 1000;

describe('POST /auth/login', () => {
  onEveryEnvironment((environment) => {
    let app: TestApp;
    beforeAll(async () => {
      app = await environment.boot();
    });

    it('returns a token, its expiry and its device', async () => {
      const { status, json, headers } = await app.login((await app.createUser()).username);
      expect(status).toBe(200);
      expect(json).toEqual({
        token: expect.stringMatching(/^ext_[A-Za-z0-9_-]{70}$/),
        tokenType: 'Bearer',
        expiresIn: (30 * DAY_MS) / 1000,
        expiresAt: new Date(app.clock.now + 30 * DAY_MS).toISOString(),
        deviceId: expect.any(String),
      });
      expect(headers).toMatchObject({ 'cache-control': 'no-store', pragma: 'no-cache' });
      expect(headers['content-type']).toMatch(/^application\/json; charset=utf-8$/);
    });

    it('always creates a new device with a new token', async () => {
      const { username } = await app.createUser();
      const [first, second] = [(await app.login(username)).json, (await app.login(username)).json];
      expect(second.token).not.toBe(first.token);
      expect(second.deviceId).not.toBe(first.deviceId);
      expect((await app.get('/me', first.token)).status).toBe(200);
      expect((await app.get('/me', second.token)).status).toBe(200);
    });

    it('returns the same bytes for all wrong credentials, with the challenge of a 401', async () => {
      const user = await app.createUser();
      const inactive = await app.createUser();
      await app.users.setActive(inactive.id, false);
      const noPassword = await app.users.create(`none-${randomUUID()}`, null);
      const answers = [
        await app.login('nobody'),
        await app.login(user.username, 'wrong'),
        await app.login(inactive.username),
        await app.login(noPassword.username),
        await app.login(user.username.toUpperCase()),
        await app.login(user.username, PASSWORD.toUpperCase()),
        await app.login(user.username, ` ${PASSWORD}`),
        await app.login(user.username, `${PASSWORD}\0`),
      ];
      for (const [index, { status, json, headers }] of answers.entries()) {
        expect(status, `answer ${index}`).toBe(401);
        expect(json, `answer ${index}`).toEqual({
          statusCode: 401,
          error: 'Unauthorized',
          message: 'Unable to log in with provided credentials',
          code: 'credentials_invalid',
        });
        expect(headers['www-authenticate'], `answer ${index}`).toBe('Bearer realm="api"');
      }
      expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
    });

    it('compares user names exactly', async () => {
      const name = `Ann-é-${randomUUID()}`;
      await app.createUser(name);
      const variants = [
        name.toLowerCase(),
        name.toUpperCase(),
        name.replace('é', 'e'),
        name.normalize('NFD'),
        `${name} `,
        ` ${name}`,
      ];
      for (const variant of variants) expect((await app.login(variant)).status, variant).toBe(401);
      expect((await app.login(name)).status).toBe(200);
      const lower = await app.createUser(name.toLowerCase());
      const { json } = await app.login(name.toLowerCase());
      expect((await app.get('/me', json.token)).json.user.id).toBe(lower.id);
    });

    it('names the field if the body has the wrong shape, never its value, and writes nothing', async () => {
      const { username } = await app.createUser();
      const before = await app.countTokens();
      const long = 'x'.repeat(1025);
      const cases: [body: unknown, message: string][] = [
        [{}, 'username must be a string'],
        [{ username }, 'password must be a string'],
        [{ username: [username], password: PASSWORD }, 'username must be a string'],
        [{ username: { $ne: null }, password: PASSWORD }, 'username must be a string'],
        [{ username: '', password: PASSWORD }, 'username must not be empty'],
        [{ username, password: 12345678 }, 'password must be a string'],
        [{ username, password: '' }, 'password must not be empty'],
        [{ username, password: long }, 'password must be at most 1024 bytes'],
        [{ username, password: 'é'.repeat(513) }, 'password must be at most 1024 bytes'],
        [{ username: long, password: PASSWORD }, 'username must be at most 1024 bytes'],
        [{ username, password: 'a\ud800' }, 'password must be well-formed Unicode'],
        [{ username: 'a\udc00', password: PASSWORD }, 'username must be well-formed Unicode'],
        [{ username, password: PASSWORD, deviceName: 7 }, 'deviceName must be a string'],
        [[], 'body must be a JSON object'],
      ];
      for (const [body, message] of cases) {
        const { status, json } = await app.post('/auth/login', body);
        expect({ status, ...json }, message).toEqual({
          status: 400,
          statusCode: 400,
          error: 'Bad Request',
          message,
          code: 'validation_failed',
        });
      }
      expect(await app.countTokens()).toBe(before);
    });

    it('accepts JSON only', async () => {
      const { username } = await app.createUser();
      const json = JSON.stringify({ username, password: PASSWORD });
      const form = new URLSearchParams({ username, password: PASSWORD }).toString();
      const cases: [contentType: string, rawBody: string][] = [
        ['text/plain', json],
        ['application/x-www-form-urlencoded', form],
        // Not a grant of OAuth 2.0 (RFC 9700 §2.4).
        ['application/x-www-form-urlencoded', `grant_type=password&${form}`],
        ['application/json-patch+json', json],
        ['multipart/form-data; boundary=x', json],
      ];
      for (const [contentType, rawBody] of cases) {
        const answer = await app.send('/auth/login', {
          method: 'POST',
          headers: [['Content-Type', contentType]],
          rawBody,
        });
        expect([400, 415], contentType).toContain(answer.status);
        expect(answer.text, contentType).not.toContain(PASSWORD);
      }
      const upperCase = [['Content-Type', 'Application/JSON; charset=UTF-8']] as const;
      expect((await app.send('/auth/login', { method: 'POST', headers: upperCase, rawBody: json })).status).toBe(200);
    });

    it('does not quote a body that is not JSON', async () => {
      for (const rawBody of ['hunter2SuperSecret', '{"password":"hunter2SuperSecret"', '"hunter2SuperSecret"', '']) {
        const headers = [['Content-Type', 'application/json']] as const;
        for (const path of [
          '/auth/login',
          '/auth/obtain-token',
          '/auth/logout',
          '/auth/logout-all',
          '/auth/%6Cogin/',
        ]) {
          const { status, text } = await app.send(path, { method: 'POST', headers, rawBody });
          expect([400, 401, 404], `${rawBody}, ${path}`).toContain(status);
          expect(text, `${rawBody}, ${path}`).not.toContain('hunter2');
          expect(text, `${rawBody}, ${path}`).not.toContain('SuperSecret');
        }
      }
    });

    it('names the device by X-Device-Model, else deviceName, else the user agent, else not at all', async () => {
      const { username } = await app.createUser();
      const latin1 = (text: string) => Buffer.from(text).toString('latin1');
      const nameOf = async (headers: [string, string][], body: object = {}) => {
        const credentials = { username, password: PASSWORD, ...body };
        const { json } = await app.send('/auth/login', { method: 'POST', headers, body: credentials });
        return (await app.get('/auth/token', json.token)).json.name;
      };
      const userAgent: [string, string] = ['User-Agent', 'Browser 1'];
      expect(await nameOf([['X-Device-Model', 'Pixel 9'], userAgent], { deviceName: 'kitchen' })).toBe('Pixel 9');
      expect(await nameOf([userAgent], { deviceName: 'kitchen' })).toBe('kitchen');
      expect(await nameOf([userAgent])).toBe('Browser 1');
      expect(await nameOf([])).toBeNull();
      expect(await nameOf([['X-Device-Model', latin1('Zoë’s 📱')], userAgent])).toBe('Zoë’s 📱');
      expect(await nameOf([['X-Device-Model', 'Zo\u00eb'], userAgent])).toBe('Browser 1');
      expect(await nameOf([['X-Device-Model', ''], userAgent])).toBe('Browser 1');
      expect(await nameOf([], { deviceName: 'a\u0000b\u001b[31mc\r\nd\u202e\u0085' })).toBe('ab[31mcd');
      expect(await nameOf([], { deviceName: '\u0007' })).toBeNull();
      expect(await nameOf([userAgent], { deviceName: ' \u0007' })).toBe('Browser 1');
      expect(await nameOf([], { deviceName: '📱'.repeat(300) })).toBe('📱'.repeat(255));
      expect(await nameOf([], { deviceName: 'a\ud800' })).toBe('a\ufffd');
    });

    it('ignores all other fields of the body', async () => {
      const { username } = await app.createUser();
      const other = await app.createUser();
      const extras = {
        userId: other.id,
        id: other.id,
        lifespan: null,
        expiresAt: '2999-01-01',
        deviceId: 'x',
        token: 'y',
      };
      const { json } = await app.post('/auth/login', { username, password: PASSWORD, ...extras });
      expect(json.expiresIn).toBe((30 * DAY_MS) / 1000);
      expect((await app.get('/me', json.token)).json.user.username).toBe(username);
    });
  });
});

describe('The options of the login', () => {
  onEveryEnvironment((environment) => {
    it('usernameField and passwordField name the fields of the credentials, and appear in their errors', async () => {
      const app = await environment.boot({ options: { usernameField: 'email', passwordField: 'pass' } });
      const { username } = await app.createUser();
      expect((await app.post('/auth/login', { email: username, pass: PASSWORD })).status).toBe(200);
      expect((await app.post('/auth/login', { username, password: PASSWORD })).json.message).toBe(
        'email must be a string',
      );
    });

    it('lifespan null issues tokens that never expire', async () => {
      const app = await environment.boot({ options: { lifespan: null } });
      const { json } = await app.login((await app.createUser()).username);
      expect(json).toMatchObject({ expiresIn: null, expiresAt: null });
      app.clock.advance(200 * 365 * DAY_MS);
      expect((await app.get('/me', json.token)).status).toBe(200);
      expect((await app.get('/auth/token', json.token)).json.expiresAt).toBeNull();
      expect((await app.get('/auth/devices', json.token)).json[0].expiresAt).toBeNull();
    });

    it('reject a password that was changed while it was being verified', async () => {
      const app = await environment.boot();
      const user = await app.createUser();
      const database = app.nest.get<Database>(DATABASE);
      const read = database.read.bind(database);
      let reads = 0;
      const reading = vi.spyOn(database, 'read').mockImplementation(async (statement, signal) => {
        if (statement.sql.includes('auth_user') && ++reads === 2)
          await app.users.changePassword(user.id, 'a new password');
        return read(statement, signal);
      });
      expect((await app.login(user.username)).json.code).toBe('credentials_invalid');
      reading.mockRestore();
      expect(await app.tokens.list(user.id)).toEqual([]);
      expect((await app.login(user.username, 'a new password')).status).toBe(200);
    });

    it('prefix starts every token, and tokens with another prefix are invalid', async () => {
      const app = await environment.boot({ options: { prefix: 'acme-1_' } });
      const user = await app.createUser();
      const token = await app.token(user.id);
      expect(token).toMatch(/^acme-1_[A-Za-z0-9_-]{70}$/);
      expect((await app.get('/me', token)).status).toBe(200);
      const plain = await environment.boot();
      expect((await plain.get('/me', token)).json.code).toBe('token_invalid');
      expect((await app.get('/me', await plain.token(user.id))).json.code).toBe('token_invalid');
    });
  });
});
