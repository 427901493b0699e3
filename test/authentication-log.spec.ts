import { createHash } from 'node:crypto';
import { Injectable, Logger } from '@nestjs/common';
import type { UserStore } from 'nestjs-expiring-token';
import { describe, expect, it, vi } from 'vitest';
import { nameInLog } from '../lib/authentication/authentication.logger.js';
import { PackageLogger } from '../lib/errors/package.logger.js';
import { warnings, onEveryEnvironment, PASSWORD, debugLog } from './fixtures/app.js';

describe('The authentication log', () => {
  onEveryEnvironment(
    (environment) => {
      it('logs the outcome of every login, refresh and logout with user, device and address, and no secret', async () => {
        const app = await environment.boot({
          options: { refresh: { grace: 0 }, loginThrottle: { limit: 2, ttl: '5m' } },
        });
        const { id: userId, username } = await app.createUser();
        const address = expect.stringMatching(/127\.0\.0\.1$/);
        const name = nameInLog(username);
        const secrets: string[] = [PASSWORD, username];
        let read = 0;
        /** The lines since the last call that begin with one of these events. */
        const lines = () => {
          const found = debugLog.slice(read).filter((line) => / (?:accepted|refused): /.test(line));
          read = debugLog.length;
          return found.map((line) => {
            const [, what, details] = /^(.*?): (\{.*?\})/.exec(line)!;
            return [what, JSON.parse(details!)];
          });
        };
        debugLog.length = 0;
        warnings.length = 0;

        const { token, refreshToken, deviceId } = (await app.login(username)).json;
        expect(lines()).toEqual([['Login accepted', { userId, deviceId, address }]]);
        const pair = (await app.post('/auth/refresh', { refreshToken })).json;
        expect(lines()).toEqual([['Refresh accepted', { userId, deviceId, address }]]);
        await app.post('/auth/logout', undefined, pair.token);
        expect(lines()).toEqual([['Logout accepted', { userId, deviceId, address }]]);
        await app.post('/auth/refresh', { refreshToken: pair.refreshToken });
        expect(lines()).toEqual([['Refresh refused', { code: 'refresh_invalid', address }]]);
        await app.get('/me', token);
        expect(lines()).toEqual([['Token refused', { code: 'token_invalid', address }]]);
        const other = (await app.login(username)).json;
        await app.post('/auth/logout-all', undefined, other.token);
        expect(lines().at(-1)).toEqual(['Logout of all devices accepted', { userId, address }]);
        for (let failed = 0; failed < 3; failed++) await app.login(username, `wrong ${PASSWORD}`);
        expect(lines()).toEqual([
          ['Login refused', { code: 'credentials_invalid', name, address }],
          ['Login refused', { code: 'credentials_invalid', name, address }],
          ['Login refused', { code: 'throttled', name, address }],
        ]);
        secrets.push(token, refreshToken, pair.token, pair.refreshToken, other.token);
        for (const [index, secret] of secrets.entries())
          expect([...debugLog, ...warnings].join('\n'), `secret ${index}`).not.toContain(secret);
      });

      it('logs one line for a correct password, with the device or with the reason why no token was issued', async () => {
        const app = await environment.boot({ options: { limit: { perUser: 1, policy: 'reject' } } });
        const { id: userId, username } = await app.createUser();
        debugLog.length = 0;
        const { deviceId } = (await app.post('/auth/obtain-token', { username, password: PASSWORD })).json;
        expect((await app.login(username)).json.code).toBe('limit_reached');
        await app.dataSource.query('ALTER TABLE auth_token RENAME TO gone');
        expect((await app.login(username)).status).toBe(503);
        await app.dataSource.query('ALTER TABLE gone RENAME TO auth_token');
        const lines = debugLog.flatMap((line) => [...line.matchAll(/^(Login \w+): (\{.*?\})/g)]);
        expect(lines.map(([, what, details]) => ({ what, ...JSON.parse(details!) }))).toMatchObject([
          { what: 'Login accepted', userId, deviceId },
          { what: 'Login refused', userId, code: 'limit_reached' },
          { what: 'Login refused', userId, code: 'unavailable' },
        ]);
      });

      it('cannot be forged by the address that a proxy sends', async () => {
        const app = await environment.boot({ proxies: 1 });
        debugLog.length = 0;
        await app.send('/auth/login', {
          method: 'POST',
          body: { username: 'nobody', password: PASSWORD },
          headers: [['X-Forwarded-For', 'a\u0085[Nest] forged\u009b31m']],
        });
        const [line] = debugLog.filter((text) => text.startsWith('Login refused'));
        expect(line).toBeDefined();
        expect(line).not.toMatch(/\p{Cc}/u);
      });

      it('cannot be forged by the id that a user store returns', async () => {
        @Injectable()
        class Directory implements UserStore<{ id: string }> {
          findById = async (id: string) => ({ id });
          validateCredentials = async () => ({ id: 'cn=a\u2028[Nest] forged\u202e\u009b' });
          getId = ({ id }: { id: string }) => id;
        }
        const app = await environment.boot({ options: { users: Directory } });
        debugLog.length = 0;
        expect((await app.login('a')).status).toBe(200);
        const [line] = debugLog.filter((text) => text.startsWith('Login accepted'));
        expect(line).toContain(String.raw`cn=a\u{2028}[Nest] forged\u{202e}\u{9b}`);
      });
    },
    { databases: ['sqlite'] },
  );
});

describe('A rejected user name in the log', () => {
  it('is the same text within a process, another one in each process, and no hash that somebody else can compute', async () => {
    const name = nameInLog('correct horse');
    expect(name).toMatch(/^hmac:[0-9a-f]{16}$/);
    expect(nameInLog('correct horse')).toBe(name);
    expect(nameInLog('Correct horse')).not.toBe(name);
    expect(createHash('sha256').update('correct horse').digest('hex')).not.toContain(name.slice(5));
    // Stands for another process: the module is loaded again.
    vi.resetModules();
    const another = await import('../lib/authentication/authentication.logger.js');
    expect(another.nameInLog('correct horse')).not.toBe(name);
  });
});

describe('A log line of the package', () => {
  it.each(['error', 'warn', 'log', 'debug'] as const)(
    'at level %s has no character that ends or disguises it',
    (level) => {
      const write = vi.spyOn(Logger.prototype, level).mockImplementation(() => undefined);
      new PackageLogger()[level]('a\n\u0085\u009b\u2028\u2029\u202e\u2066\ufeff\ud800é');
      expect(write.mock.calls).toEqual([
        [String.raw`a\u{a}\u{85}\u{9b}\u{2028}\u{2029}\u{202e}\u{2066}\u{feff}\u{d800}é`],
      ]);
      write.mockRestore();
    },
  );
});
