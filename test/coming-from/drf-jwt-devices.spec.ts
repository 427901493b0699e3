import { Controller, Post } from '@nestjs/common';
import { ExpiringTokenService } from 'nestjs-expiring-token';
import { beforeAll, describe, expect, it } from 'vitest';
import { onOneEnvironment, PASSWORD, type TestApp } from '../fixtures/app.js';
import { itHasATestForEachRowBelow } from '../fixtures/documented-rows.js';
import {
  at,
  DAY_MS,
  drfKey,
  HOUR_MS,
  login,
  MINUTE_MS,
  notAnOption,
  refused,
  use,
  withScheme,
} from '../fixtures/predecessors.js';

/** A login route of the application with its own response, for users that another check has authenticated. */
@Controller('sessions')
class SessionsController {
  static readonly userIds: string[] = [];

  constructor(private readonly tokens: ExpiringTokenService) {}

  @Post()
  async create() {
    const { plainText, token } = await this.tokens.issue(SessionsController.userIds.at(-1)!, { lifespan: '10h' });
    return { expiry: this.tokens.expiryOf(token), token: plainText };
  }
}

describe('Coming from drf-jwt-devices', () => {
  // Databases have no part in these options: their own specs show them on each database.
  onOneEnvironment((environment) => {
    /** With default options. */
    let plain: TestApp;
    /** With the options of a project that comes from drf-jwt-devices. */
    let devices: TestApp;
    beforeAll(async () => {
      plain = await environment.boot();
      devices = await environment.boot({
        options: { refresh: { header: 'Permanent-Token' }, schemes: ['Bearer', 'JWT'], imported: ['drf'] },
      });
    });

    const refresh = (app: TestApp, token: string) =>
      app.send('/auth/refresh', { method: 'POST', headers: [['Permanent-Token', token]] });

    it('JWT_PERMANENT_TOKEN_AUTH: is refresh, off by default', async () => {
      const { username } = await devices.createUser();
      expect(await login(devices, username)).toMatchObject({ refreshToken: expect.any(String) });
      const other = await plain.createUser();
      expect(await login(plain, other.username)).not.toHaveProperty('refreshToken');
    });

    it('JWT_PERMANENT_TOKEN_EXPIRATION_DELTA: is refresh.idle, 7 days by default, up to refresh.lifespan', async () => {
      const { username } = await devices.createUser();
      const unused = await login(devices, username);
      expect(unused.refreshExpiresAt).toBe(at(devices, 7 * DAY_MS));
      let current = await login(devices, username);
      for (let day = 6; day < 90; day += 6) {
        devices.clock.advance(6 * DAY_MS);
        const { status, json } = await refresh(devices, current.refreshToken);
        expect(status, `day ${day}`).toBe(200);
        current = json;
      }
      refused(await refresh(devices, unused.refreshToken), 401, 'refresh_invalid');
      devices.clock.advance(6 * DAY_MS);
      refused(await refresh(devices, current.refreshToken), 401, 'refresh_invalid');

      const endless = await environment.boot({ options: { refresh: { lifespan: null, header: 'Permanent-Token' } } });
      const user = await endless.createUser();
      let kept = await login(endless, user.username);
      for (let day = 0; day < 120; day += 6) {
        endless.clock.advance(6 * DAY_MS);
        kept = (await refresh(endless, kept.refreshToken)).json;
      }
      expect((await endless.get('/me', kept.token)).status).toBe(200);
    });

    it('JWT_PERMANENT_TOKEN_EXPIRATION_ACCURACY: is lastUsedAccuracy, half an hour by default', async () => {
      const token = await devices.token();
      const firstUse = at(devices);
      expect(await use(devices, token)).toBe(firstUse);
      devices.clock.advance(30 * MINUTE_MS - 1);
      expect(await use(devices, token)).toBe(firstUse);
      devices.clock.advance(1);
      expect(await use(devices, token)).toBe(at(devices));
    });

    it('JWT_EXPIRATION_DELTA: is lifespan, an hour by default with refresh', async () => {
      const { username } = await devices.createUser();
      const { token, expiresIn } = await login(devices, username);
      expect(expiresIn).toBe(3600);
      devices.clock.advance(HOUR_MS);
      refused(await devices.get('/me', token), 401, 'token_expired');
    });

    it('JWT_AUTH_HEADER_PREFIX: is schemes', async () => {
      expect((await withScheme(devices, 'JWT', await devices.token())).status).toBe(200);
      refused(await withScheme(plain, 'JWT', await plain.token()), 401, 'token_missing');
    });

    it('JWT_AUTH_COOKIE: no cookie is set or read', async () => {
      const { username } = await devices.createUser();
      const answer = await devices.login(username);
      expect(answer.headers).not.toHaveProperty('set-cookie');
      const headers = [['Cookie', `token=${answer.json.token}; JWT=${answer.json.token}`]] as const;
      refused(await devices.send('/me', { headers }), 401, 'token_missing');
      await notAnOption('cookie', 'JWT');
    });

    it('JWT_DEVICES_PAYLOAD_HANDLER: a token says nothing of its user', async () => {
      const user = await devices.createUser('jane.doe');
      const token = await devices.token(user.id);
      const bytes = Buffer.from(token.slice('ext_'.length), 'base64url');
      for (const [index, text] of [token, bytes.toString('latin1'), bytes.toString('hex')].entries()) {
        expect(text, `text ${index}`).not.toContain(user.username);
        expect(text, `text ${index}`).not.toContain(user.id.replaceAll('-', ''));
      }
      expect((await devices.get('/me', token)).json).toMatchObject({
        user: { username: 'jane.doe' },
        token: { deviceId: expect.any(String) },
      });
      await notAnOption('payloadHandler', () => ({}));
    });

    it("JWT_DEVICES_RESPONSE_PAYLOAD_HANDLER: is a route of the application's own in place of login", async () => {
      const app = await environment.boot({
        options: { routes: ['logout', 'devices'] },
        controllers: [SessionsController],
      });
      const user = await app.createUser();
      SessionsController.userIds.push(user.id);
      expect((await app.login(user.username)).status).toBe(404);
      const { json } = await app.post('/sessions');
      expect(json).toEqual({ expiry: at(app, 10 * HOUR_MS), token: expect.any(String) });
      expect((await app.post('/auth/logout', undefined, json.token)).status).toBe(204);
    });

    it('obtain_jwt_token: is login, which answers both tokens and the device', async () => {
      const { username } = await devices.createUser();
      expect(await login(devices, username)).toEqual({
        token: expect.any(String),
        tokenType: 'Bearer',
        expiresIn: 3600,
        expiresAt: at(devices, HOUR_MS),
        deviceId: expect.any(String),
        refreshToken: expect.any(String),
        refreshExpiresIn: (7 * DAY_MS) / 1000,
        refreshExpiresAt: at(devices, 7 * DAY_MS),
      });
    });

    it('X-Device-Model: names the device, else the user agent does', async () => {
      const { username } = await devices.createUser();
      const from = async (...headers: [string, string][]) => {
        const body = { username, password: PASSWORD };
        const { json } = await devices.send('/auth/login', { method: 'POST', headers, body });
        return (await devices.get('/auth/devices', json.token)).json.find((device: any) => device.current);
      };
      const agent: [string, string] = ['User-Agent', 'App/1.0'];
      expect(await from(agent, ['X-Device-Model', 'Pixel 9'])).toMatchObject({
        name: 'Pixel 9',
        userAgent: 'App/1.0',
      });
      expect(await from(agent)).toMatchObject({ name: 'App/1.0', userAgent: 'App/1.0' });
    });

    it('device_refresh_token: is refresh, which takes the header of that name and gives two new tokens', async () => {
      const { username } = await devices.createUser();
      const first = await login(devices, username);
      devices.clock.advance(2 * HOUR_MS);
      const { status, json: second } = await refresh(devices, first.refreshToken);
      expect(status).toBe(200);
      expect(second).toMatchObject({ deviceId: first.deviceId, expiresIn: 3600 });
      expect(new Set([first.token, first.refreshToken, second.token, second.refreshToken]).size).toBe(4);
      expect((await devices.get('/me', second.token)).status).toBe(200);

      const standard = await environment.boot({ options: { refresh: {} }, clock: devices.clock });
      const headers = [['Refresh-Token', second.refreshToken]] as const;
      expect((await standard.send('/auth/refresh', { method: 'POST', headers })).status).toBe(200);
    });

    it('A stolen permanent token: ends the device when it is used again', async () => {
      const user = await devices.createUser();
      const first = await login(devices, user.username);
      const { json: second } = await refresh(devices, first.refreshToken);
      devices.clock.advance(30_000);
      refused(await refresh(devices, first.refreshToken), 401, 'refresh_invalid');
      refused(await refresh(devices, second.refreshToken), 401, 'refresh_invalid');
      refused(await devices.get('/me', second.token), 401, 'token_invalid');
      expect(await devices.tokens.list(user.id)).toEqual([]);
    });

    it('Permanent token has expired.: is 401 refresh_invalid, and the device is gone', async () => {
      const user = await devices.createUser();
      const { refreshToken } = await login(devices, user.username);
      devices.clock.advance(7 * DAY_MS);
      refused(await refresh(devices, refreshToken), 401, 'refresh_invalid', 'Invalid refresh token');
      expect(await devices.tokens.list(user.id)).toEqual([]);
    });

    it('PermittedHeadersMiddleware: is built in', async () => {
      const { username } = await devices.createUser();
      const { token, refreshToken } = await login(devices, username);
      const headers = [
        ['Authorization', `Bearer ${token}`],
        ['Permanent-Token', refreshToken],
      ] as const;
      for (const path of ['/me', '/auth/token', '/auth/devices']) {
        refused(await devices.send(path, { headers }), 400, 'request_invalid', undefined, path);
      }
      const body = { username, password: PASSWORD };
      refused(await devices.send('/auth/login', { method: 'POST', headers, body }), 400, 'request_invalid');
      expect((await refresh(devices, refreshToken)).status).toBe(200);
    });

    it('GET /devices/: is the list of devices', async () => {
      const { username } = await devices.createUser();
      const [phone, laptop] = [await login(devices, username), await login(devices, username)];
      const { json } = await devices.get('/auth/devices', phone.token);
      expect(json).toHaveLength(2);
      expect(json.map(({ id, current }: any) => [id, current])).toEqual(
        expect.arrayContaining([
          [phone.deviceId, true],
          [laptop.deviceId, false],
        ]),
      );
      for (const device of json) {
        expect(Object.keys(device).toSorted(), device.id).toEqual(
          ['createdAt', 'current', 'expiresAt', 'id', 'lastUsedAt', 'name', 'userAgent'].toSorted(),
        );
      }
    });

    it('DELETE /devices/<id>/: is 204, and 404 for a device of another user', async () => {
      const { username } = await devices.createUser();
      const [phone, laptop] = [await login(devices, username), await login(devices, username)];
      const remove = (id: string, token: string) =>
        devices.send(`/auth/devices/${id}`, { method: 'DELETE', headers: [['Authorization', `Bearer ${token}`]] });
      const stranger = await devices.token();
      refused(await remove(laptop.deviceId, stranger), 404, 'device_not_found');
      expect((await remove(laptop.deviceId, phone.token)).status).toBe(204);
      refused(await devices.get('/me', laptop.token), 401, 'token_invalid');
      refused(await refresh(devices, laptop.refreshToken), 401, 'refresh_invalid');
    });

    it('device_logout: is logout, which ends both tokens of the device in use and no other', async () => {
      const { username } = await devices.createUser();
      const [phone, laptop] = [await login(devices, username), await login(devices, username)];
      const headers = [
        ['Authorization', `Bearer ${phone.token}`],
        ['Device-Id', laptop.deviceId],
      ] as const;
      expect((await devices.send('/auth/logout', { method: 'POST', headers })).status).toBe(204);
      refused(await devices.get('/me', phone.token), 401, 'token_invalid');
      refused(await refresh(devices, phone.refreshToken), 401, 'refresh_invalid');
      expect((await devices.get('/me', laptop.token)).status).toBe(200);
    });

    it('jwt_secret: tokens of a device that is logged out are rejected immediately', async () => {
      const user = await devices.createUser();
      const first = await login(devices, user.username);
      const { json: second } = await refresh(devices, first.refreshToken);
      expect((await devices.get('/me', first.token)).status).toBe(200);
      expect(await devices.tokens.revoke(user.id, first.deviceId)).toBe(true);
      for (const [name, { token }] of Object.entries({ first, second })) {
        refused(await devices.get('/me', token), 401, 'token_invalid', undefined, name);
      }
    });

    it('PermanentTokenAuthentication: is the guard', async () => {
      refused(await devices.get('/me'), 401, 'token_missing');
      expect((await devices.get('/me', await devices.token())).status).toBe(200);
    });

    it('Live JWTs and permanent tokens: are refused, an imported one at the refresh too', async () => {
      const user = await devices.createUser();
      const jwt = [{ alg: 'HS256', typ: 'JWT' }, { user_id: 1, device_id: '1' }, {}]
        .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
        .join('.');
      refused(await withScheme(devices, 'JWT', jwt), 401, 'token_invalid');
      const permanentToken = drfKey();
      refused(await refresh(devices, permanentToken), 401, 'refresh_invalid');
      await devices.tokens.import([{ userId: user.id, key: permanentToken, created: new Date(devices.clock.now) }]);
      refused(await refresh(devices, permanentToken), 401, 'refresh_invalid');
    });
  });

  itHasATestForEachRowBelow('drf-jwt-devices');
});
