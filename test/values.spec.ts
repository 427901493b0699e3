import { type Duration, ExpiringTokenOptionsError, Token } from 'nestjs-expiring-token';
import { beforeAll, describe, expect, it } from 'vitest';
import { onEveryDatabase, type TestApp } from './fixtures/app.js';
import { DatabaseMeter } from './fixtures/hostile/database-meter.js';

describe('In JavaScript, without type checks,', () => {
  onEveryDatabase((environment) => {
    let app: TestApp;
    let userId: string;
    let meter: DatabaseMeter;
    beforeAll(async () => {
      app = await environment.boot({ options: { refresh: {} } });
      userId = (await app.createUser()).id;
      meter = new DatabaseMeter(app.dataSource);
    });

    it('a token that is not a string is rejected without a query', async () => {
      const { access, refresh } = await app.tokens.logIn(userId);
      const wrongTypes = (token: string) => [
        undefined,
        null,
        7,
        true,
        [token],
        { toString: () => token },
        new String(token),
        Buffer.from(token),
      ];
      meter.take();
      for (const [index, value] of (wrongTypes(access.plainText) as string[]).entries()) {
        await expect(app.tokens.authenticate(value), `value ${index}`).rejects.toMatchObject({ code: 'token_invalid' });
      }
      for (const [index, value] of (wrongTypes(refresh!.plainText) as string[]).entries()) {
        await expect(app.tokens.refresh(value), `value ${index}`).rejects.toMatchObject({ code: 'refresh_invalid' });
      }
      expect(meter.take()).toBe(0);
      expect((await app.tokens.authenticate(access.plainText)).token.userId).toBe(userId);
      expect((await app.tokens.refresh(refresh!.plainText)).access.token.userId).toBe(userId);
    });

    it.each(
      [7, true, null, undefined, ['x'], {}, '', 'x ', 'a\0', '\ud800', 'x'.repeat(256)].map(
        (value) => [JSON.stringify(value)?.slice(0, 20), value] as const,
      ),
    )('the user id %s is rejected with a TypeError, without a query', async (_, value) => {
      const id = value as string;
      const device = '01b8e094-9b2e-7000-8000-000000000000';
      const { tokens } = app;
      const calls = [
        () => tokens.issue(id),
        () => tokens.logIn(id),
        () => tokens.obtain(id),
        () => tokens.list(id),
        () => tokens.rename(id, device, 'x'),
        () => tokens.revoke(id, device),
        () => tokens.revokeAll(id),
        () => tokens.import([{ userId: id, key: '0'.repeat(40), created: new Date(0) }]),
      ];
      meter.take();
      for (const call of calls) await expect(call(), String(call)).rejects.toThrow(TypeError);
      expect(meter.take()).toBe(0);
    });

    it.each([7, true, null, undefined, ['x'], {}])('the device id %o matches no device', async (value) => {
      const id = value as string;
      meter.take();
      await expect(app.tokens.rename(userId, id, 'x')).rejects.toMatchObject({ code: 'device_not_found' });
      expect(await app.tokens.revoke(userId, id)).toBe(false);
      expect(meter.take()).toBe(0);
    });

    it.each(['3600', '', '101y', '0s', 0, -1, 0.5, Number.NaN, Infinity, 2 ** 53, {}, ['1h'], true])(
      'the lifespan %o is rejected, and no token is issued',
      async (lifespan) => {
        const before = await app.countTokens();
        const issued = app.tokens.issue(userId, { lifespan: lifespan as Duration });
        await expect(issued).rejects.toThrow(ExpiringTokenOptionsError);
        expect(await app.countTokens()).toBe(before);
      },
    );

    it('a name or a user agent is truncated and sanitized on every way in', async () => {
      const long = '📱'.repeat(300);
      const { token } = await app.tokens.issue(userId, { name: long, userAgent: 'a\u0085b\u202ec\ud800' });
      expect(await app.dataSource.getRepository(Token).findOneBy({ id: token.id })).toMatchObject({
        name: '📱'.repeat(255),
        userAgent: 'abc\ufffd',
      });
      const named = async (name: string) => (await app.tokens.rename(userId, token.deviceId, name)).name;
      expect(await named(long)).toBe('📱'.repeat(255));
      expect(await named('a\u202eb\r\n\u001b[31m')).toBe('ab[31m');
      expect(await named('a\ud800')).toBe('a\ufffd');
      const { id: owner } = await app.createUser();
      await app.tokens.import([{ userId: owner, key: 'a'.repeat(40), created: new Date(app.clock.now), name: long }]);
      const imported = await app.dataSource.getRepository(Token).findOneBy({ userId: owner });
      expect(imported!.name).toBe('📱'.repeat(255));
    });
  });
});

describe('A row with a corrupt value', () => {
  onEveryDatabase((environment) => {
    let app: TestApp;
    beforeAll(async () => {
      app = await environment.boot({ options: { refresh: {}, idle: '1h' } });
    });

    /** A login whose rows are changed directly in the table. */
    async function brokenLogin(change: string) {
      const user = await app.createUser();
      const { access, refresh } = await app.tokens.logIn(user.id);
      await app.dataSource.query(`UPDATE auth_token SET ${change} WHERE user_id = '${user.id}'`);
      return { user, token: access.plainText, refreshToken: refresh!.plainText };
    }

    // Values that a numeric column accepts on each database. SQLite accepts any value in any column.
    const BROKEN = {
      sqlite: ["created = 'x'", "created = ''", 'created = 1e300', "lifespan = 'x'", "last_used_at = 'x'"],
      postgres: [],
      mariadb: [],
    }[environment.databaseName];
    const INSTANTS = ['created = 9223372036854775807', 'created = -1', 'created = -9223372036854775807'];
    const EXTREME = [...INSTANTS, 'lifespan = -1', 'last_used_at = -9223372036854775807'];

    it.each([...BROKEN, ...EXTREME])('%s is treated as an expired token', async (change) => {
      const { user, token, refreshToken } = await brokenLogin(change);
      expect(await app.get('/me', token)).toMatchObject({ status: 401, json: { code: 'token_expired' } });
      expect(await app.tokens.list(user.id)).toEqual([]);
      const refreshed = await app.post('/auth/refresh', { refreshToken });
      expect(refreshed).toMatchObject({ status: 401, json: { code: 'refresh_invalid' } });
      await expect(app.tokens.prune()).resolves.toBeGreaterThanOrEqual(0);
      expect(await app.tokens.revokeAll(user.id)).toBe(0);
      expect(await app.dataSource.getRepository(Token).countBy({ userId: user.id })).toBe(0);
    });

    // On a server the column has a fixed length, and a digest cannot be null.
    const DIGESTS =
      environment.databaseName === 'mariadb' ? [] : ["''", environment.databaseName === 'sqlite' ? "x'00'" : "'\\x00'"];
    it.each(DIGESTS)('in its digest, of another length, %s, matches no token', async (digest) => {
      const { token } = await brokenLogin(`digest = ${digest}`);
      expect(await app.get('/me', token)).toMatchObject({ status: 401, json: { code: 'token_invalid' } });
    });
  });
});
