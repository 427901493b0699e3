import { EventEmitter2, EventEmitterModule } from '@nestjs/event-emitter';
import { DocumentBuilder, SwaggerModule } from '@nestjs/swagger';
import { ExpiringTokenModule, type ExpiringTokenModuleOptions, Token } from 'nestjs-expiring-token';
import { Column, Entity } from 'typeorm';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { TokenEvents } from '../lib/tokens/events/token.events.js';
import { TokenPruner } from '../lib/tokens/token.pruner.js';
import { open, seal } from '../lib/tokens/secret/token-seal.js';
import { tally } from './fixtures/iterations.js';
import { seedTokens } from './fixtures/seed-tokens.js';
import {
  debugLog,
  warnings,
  onEveryDatabase,
  onEveryEnvironment,
  PASSWORD,
  type TestApp,
  TestClock,
} from './fixtures/app.js';
import { type Answer, bearer } from './fixtures/http.js';

const SECOND_MS = 1000;
const HOUR_MS = 3600 * SECOND_MS;
const DAY_MS = 24 * HOUR_MS;

/** The response to a rejected refresh. */
const INVALID = { statusCode: 401, error: 'Unauthorized', message: 'Invalid refresh token', code: 'refresh_invalid' };

const refresh = (app: TestApp, refreshToken: string, header = 'Refresh-Token'): Promise<Answer> =>
  app.send('/auth/refresh', { method: 'POST', headers: [[header, refreshToken]] });

/** The same from a client with a user agent. */
const refreshFrom = (app: TestApp, userAgent: string, refreshToken: string): Promise<Answer> =>
  app.send('/auth/refresh', {
    method: 'POST',
    headers: [
      ['User-Agent', userAgent],
      ['Refresh-Token', refreshToken],
    ],
  });

const logIn = async (app: TestApp, username: string) =>
  (await app.post('/auth/login', { username, password: PASSWORD, deviceName: 'laptop' })).json;

const newLogin = async (app: TestApp) => logIn(app, (await app.createUser()).username);

const codeOf = async (app: TestApp, token: string) => (await app.get('/me', token)).json.code;

/** The rows of a device, including the columns of the rotation. */
const rowsOf = async (app: TestApp, deviceId: string) =>
  app.dataSource
    .getRepository(Token)
    .createQueryBuilder('token')
    .addSelect(['token.sealed', 'token.sealedUntil'])
    .where({ deviceId })
    .getMany() as Promise<(Token & { sealed: Buffer | null; sealedUntil: Date | null })[]>;

describe('A device with a refresh token', () => {
  onEveryDatabase((environment) => {
    let app: TestApp;
    const reused = vi.fn();
    const replayed = vi.fn();
    beforeAll(async () => {
      app = await environment.boot({ options: { refresh: {} }, imports: [EventEmitterModule.forRoot()] });
      app.nest.get(EventEmitter2).on('expiring-token.reused', reused);
      app.nest.get(EventEmitter2).on('expiring-token.replayed', replayed);
    });

    it('receives it at login, with an access token of one hour', async () => {
      const answer = await newLogin(app);
      expect(answer).toEqual({
        token: expect.stringMatching(/^ext_/),
        tokenType: 'Bearer',
        expiresIn: 3600,
        expiresAt: new Date(app.clock.now + HOUR_MS).toISOString(),
        deviceId: expect.any(String),
        refreshToken: expect.stringMatching(/^ext_/),
        refreshExpiresIn: 7 * 24 * 3600,
        refreshExpiresAt: new Date(app.clock.now + 7 * DAY_MS).toISOString(),
      });
      const { username } = await app.createUser();
      const obtained = await app.post('/auth/obtain-token', { username, password: PASSWORD });
      expect(obtained.json).not.toHaveProperty('refreshToken');
    });

    it('exchanges it for a new pair, sent in the header or in the body, and keeps its previous access tokens', async () => {
      const first = await newLogin(app);
      app.clock.advance(HOUR_MS / 2);
      const { status, json: second, headers } = await refresh(app, first.refreshToken);
      expect(status).toBe(200);
      expect(headers).toMatchObject({ 'cache-control': 'no-store', pragma: 'no-cache' });
      expect(second).toEqual({
        ...first,
        token: expect.stringMatching(/^ext_/),
        refreshToken: expect.stringMatching(/^ext_/),
        expiresAt: new Date(app.clock.now + HOUR_MS).toISOString(),
        refreshExpiresAt: new Date(app.clock.now + 7 * DAY_MS).toISOString(),
      });
      expect(second.token).not.toBe(first.token);
      expect(second.refreshToken).not.toBe(first.refreshToken);
      for (const [index, { token }] of [first, second].entries())
        expect((await app.get('/me', token)).status, `token ${index}`).toBe(200);

      const third = await app.post('/auth/refresh', { refreshToken: second.refreshToken });
      expect(third.status).toBe(200);
      app.clock.advance(HOUR_MS / 2);
      expect(await codeOf(app, first.token)).toBe('token_expired');
      expect((await app.get('/me', third.json.token)).status).toBe(200);
    });

    it('stays one device with its first creation date after any number of refreshes', async () => {
      const login = await newLogin(app);
      const createdAt = new Date(app.clock.now).toISOString();
      let { token, refreshToken } = login;
      for (let times = 0; times < 3; times++) {
        app.clock.advance(2 * HOUR_MS);
        ({ token, refreshToken } = (await refresh(app, refreshToken)).json);
      }
      const { json } = await app.get('/auth/devices', token);
      expect(json).toMatchObject([
        {
          id: login.deviceId,
          name: 'laptop',
          createdAt,
          lastUsedAt: new Date(app.clock.now).toISOString(),
          expiresAt: new Date(app.clock.now + 7 * DAY_MS).toISOString(),
        },
      ]);
    });

    it('gets the same pair for a repeated refresh within the grace period, and no new row is stored', async () => {
      const login = await newLogin(app);
      const first = await refresh(app, login.refreshToken);
      const rows = await rowsOf(app, login.deviceId);
      app.clock.advance(30 * SECOND_MS - 1);
      const again = await refresh(app, login.refreshToken);
      const { expiresIn, refreshExpiresIn, ...same } = first.json;
      expect(again).toMatchObject({ status: 200, json: same });
      expect(again.json.expiresIn).toBe(expiresIn - 30);
      expect(again.json.refreshExpiresIn).toBe(refreshExpiresIn - 30);
      // The number of repetitions is sealed with the pair.
      const withoutSeal = (found: typeof rows) => new Set(found.map(({ sealed: _, ...row }) => row));
      expect(withoutSeal(await rowsOf(app, login.deviceId))).toEqual(withoutSeal(rows));
      expect((await refresh(app, again.json.refreshToken)).status).toBe(200);
    });

    it('is revoked completely when a refresh token is reused after the grace period, and no other device is', async () => {
      const user = await app.createUser();
      const other = await logIn(app, user.username);
      const stolen = await logIn(app, user.username);
      const current = (await refresh(app, stolen.refreshToken)).json;
      app.clock.advance(30 * SECOND_MS);
      reused.mockClear();
      const replay = await refresh(app, stolen.refreshToken);
      expect(replay).toMatchObject({ status: 401, json: INVALID });
      expect(replay.headers['www-authenticate']).toBe(
        'Bearer realm="api", error="invalid_token", error_description="Invalid refresh token"',
      );
      for (const [name, { token }] of Object.entries({ stolen, current }))
        expect(await codeOf(app, token), name).toBe('token_invalid');
      for (const [name, { refreshToken }] of Object.entries({ stolen, current })) {
        expect(await refresh(app, refreshToken), name).toMatchObject({ status: 401, json: INVALID });
      }
      expect(await rowsOf(app, stolen.deviceId)).toEqual([]);
      expect((await app.get('/me', other.token)).status).toBe(200);
      expect((await refresh(app, other.refreshToken)).status).toBe(200);
      expect(reused.mock.calls).toEqual([[{ userId: user.id, deviceId: stolen.deviceId }]]);
    });

    it('gets the same pair at most thirty times, then is refused, and goes on with the new pair', async () => {
      const user = await app.createUser();
      const { refreshToken, deviceId } = await logIn(app, user.username);
      const first = (await refresh(app, refreshToken)).json;
      [replayed, reused].forEach((listener) => listener.mockClear());
      const answers: Answer[] = [];
      for (let times = 0; times < 33; times++) answers.push(await refresh(app, refreshToken));
      expect(answers.map(({ status }) => status)).toEqual([
        ...Array.from({ length: 30 }, () => 200),
        ...Array.from({ length: 3 }, () => 401),
      ]);
      for (const { json } of answers.slice(0, 30)) expect(json).toEqual(first);
      for (const { json } of answers.slice(30)) expect(json).toEqual(INVALID);
      const event = (refused: boolean) => [{ userId: user.id, deviceId, refused }];
      expect(replayed.mock.calls).toEqual(answers.map((_, index) => event(index >= 30)));
      expect(reused).not.toHaveBeenCalled();
      expect((await app.get('/me', first.token)).status).toBe(200);
      const next = await refresh(app, first.refreshToken);
      expect(next.status).toBe(200);
      expect((await refresh(app, first.refreshToken)).json, 'the number begins again').toEqual(next.json);
    });

    it('gets the same pair only for the user agent that used the refresh token first', async () => {
      for (const [first, other] of [
        ['Browser 1', 'Browser 2'],
        ['Browser 1', null],
        [null, 'Browser 1'],
      ] as const) {
        const label = `${first} and ${other}`;
        const send = (userAgent: string | null, token: string) =>
          userAgent === null ? refresh(app, token) : refreshFrom(app, userAgent, token);
        // The user agent of the login does not count.
        const { refreshToken, deviceId, token } = (
          await app.send('/auth/login', {
            method: 'POST',
            headers: [['User-Agent', 'Browser 3']],
            body: { username: (await app.createUser()).username, password: PASSWORD },
          })
        ).json;
        const { json: pair } = await send(first, refreshToken);
        replayed.mockClear();
        expect((await send(other, refreshToken)).json, label).toEqual(INVALID);
        expect((await send(first, refreshToken)).json, label).toEqual(pair);
        expect((await send(other, refreshToken)).json, label).toEqual(INVALID);
        expect(
          replayed.mock.calls.map(([event]) => event),
          label,
        ).toMatchObject([{ refused: true, deviceId }, { refused: false }, { refused: true }]);
        expect(await app.get('/auth/devices', token), label).toMatchObject({
          status: 200,
          json: [{ id: deviceId, userAgent: 'Browser 3' }],
        });
        expect((await send(other, pair.refreshToken)).status, label).toBe(200);
      }
    });

    it('compares a user agent as it is stored: without control characters, cut at 255 code points', async () => {
      const { refreshToken } = await newLogin(app);
      const long = 'x'.repeat(255);
      const { json: pair } = await refreshFrom(app, `${long}1`, refreshToken);
      expect((await refreshFrom(app, `${long}2`, refreshToken)).json).toEqual(pair);
      const { plainText } = (await app.tokens.refresh(pair.refreshToken, { userAgent: 'a\u0000b' })).access;
      const again = await app.tokens.refresh(pair.refreshToken, { userAgent: 'ab' });
      expect(again.access.plainText).toBe(plainText);
      await expect(app.tokens.refresh(pair.refreshToken)).rejects.toMatchObject({ code: 'refresh_invalid' });
    });

    it('is in the log with each repetition and reuse, as a warning if it was rejected, and cannot forge a line', async () => {
      const userId = 'ann\u0085\u2028\u202e';
      const { plainText, token } = await app.tokens.issue(userId);
      const { deviceId } = token;
      const emit = app.nest.get(TokenEvents).emit;
      [warnings, debugLog].forEach((lines) => lines.splice(0));
      emit('expiring-token.replayed', { userId, deviceId, refused: false });
      emit('expiring-token.replayed', { userId, deviceId, refused: true });
      emit('expiring-token.reused', { userId, deviceId });
      const details = `: {"userId":"ann\\u{85}\\u{2028}\\u{202e}","deviceId":"${deviceId}"`;
      expect(debugLog).toEqual([expect.stringContaining(`got the same pair${details},"refused":false}`)]);
      expect(warnings).toEqual([
        expect.stringContaining(`was rejected${details},"refused":true}`),
        expect.stringContaining(`its device was revoked${details}}`),
      ]);
      expect([...warnings, ...debugLog].join()).not.toContain(plainText);
    });

    it('keeps the five newest access tokens, the new one included', async () => {
      const login = await newLogin(app);
      const pairs = [login];
      for (let times = 0; times < 7; times++) {
        app.clock.advance(SECOND_MS);
        pairs.push((await refresh(app, pairs.at(-1).refreshToken)).json);
      }
      const codes = [];
      for (const { token } of pairs) codes.push(await codeOf(app, token));
      const invalid = Array.from({ length: 3 }, () => 'token_invalid');
      expect(codes).toEqual([...invalid, ...Array.from({ length: 5 }, () => undefined)]);
      const purposes = (await rowsOf(app, login.deviceId)).map(({ purpose }) => purpose);
      expect(tally(purposes)).toEqual({ access: 5, refresh: 1, rotated: 7 });
    });

    it('keeps the new access token even if other processes issued five with a clock that is ahead', async () => {
      const login = await newLogin(app);
      const ahead = await environment.boot({ options: { refresh: {} } });
      ahead.clock.now = app.clock.now + 60 * SECOND_MS;
      let pair = login;
      for (let times = 0; times < 6; times++) pair = (await refresh(ahead, pair.refreshToken)).json;
      const { json } = await refresh(app, pair.refreshToken);
      expect((await app.get('/me', json.token)).status).toBe(200);
      expect(await rowsOf(app, login.deviceId)).toHaveLength(5 + 1 + 7);
    });

    it('keeps expired access tokens, whose clients still get token_expired', async () => {
      const login = await newLogin(app);
      let pair = login;
      for (let times = 0; times < 3; times++) pair = (await refresh(app, pair.refreshToken)).json;
      app.clock.advance(HOUR_MS);
      for (let times = 0; times < 7; times++) pair = (await refresh(app, pair.refreshToken)).json;
      expect(await codeOf(app, login.token)).toBe('token_expired');
    });

    it('is ended, and reported, when it has refreshed twenty thousand times, and no exchanged token is forgotten before', async () => {
      const user = await app.createUser();
      const { deviceId, refreshToken } = await logIn(app, user.username);
      const seed = { userId: user.id, deviceId, purpose: 'rotated', newest: app.clock.now - SECOND_MS } as const;
      await seedTokens(app.dataSource, environment.databaseName, { ...seed, rows: 19_999 });
      const count = () => app.dataSource.getRepository(Token).countBy({ deviceId, purpose: 'rotated' });
      const { json: pair } = await refresh(app, refreshToken);
      expect(await count()).toBe(20_000);
      warnings.splice(0);
      expect(await refresh(app, pair.refreshToken)).toMatchObject({ status: 401, json: { code: 'refresh_invalid' } });
      expect(warnings).toEqual([expect.stringContaining('its device was revoked')]);
      expect(await rowsOf(app, deviceId)).toEqual([]);
    });

    it('shows when its refresh token was used no finer than lastUsedAccuracy', async () => {
      const clock = new TestClock();
      const coarse = await environment.boot({
        options: { refresh: { idle: '7d' }, lifespan: '5m', lastUsedAccuracy: '10m' },
        clock,
      });
      const user = await coarse.createUser();
      const createdAt = clock.now;
      let { refreshToken } = await logIn(coarse, user.username);
      for (const [minutes, shown] of [
        [4, 0],
        [9, 0],
        [10, 10],
        [29, 20],
        [30, 30],
      ] as const) {
        clock.now = createdAt + minutes * 60 * SECOND_MS + 1;
        ({ refreshToken } = (await refresh(coarse, refreshToken)).json);
        const lastUsedAt = new Date(createdAt + shown * 60 * SECOND_MS);
        const expiresAt = new Date(lastUsedAt.getTime() + 7 * DAY_MS);
        expect(await coarse.tokens.list(user.id), `${minutes} minutes`).toMatchObject([{ lastUsedAt, expiresAt }]);
      }
      // The rule of validity is as exact as before.
      clock.advance(7 * DAY_MS - 1);
      expect(await coarse.tokens.list(user.id)).toHaveLength(1);
      clock.advance(1);
      expect(await coarse.tokens.list(user.id)).toEqual([]);
      expect((await refresh(coarse, refreshToken)).json).toEqual(INVALID);
    });

    it('shows nothing in the list of devices when its owner refreshes and uses the new token', async () => {
      const quiet = await environment.boot({
        options: { refresh: { idle: '7d' }, lifespan: '8d', lastUsedAccuracy: '30m' },
      });
      const user = await quiet.createUser();
      const { token, refreshToken } = await logIn(quiet, user.username);
      const list = async () => (await quiet.get('/auth/devices', token)).json;
      await list();
      await quiet.usesWritten();
      const before = await list();
      quiet.clock.advance(7 * 60 * SECOND_MS + 1);
      const { json: pair } = await refresh(quiet, refreshToken);
      expect(await list()).toEqual(before);
      expect((await quiet.get('/me', pair.token)).status).toBe(200);
      await quiet.usesWritten();
      expect(await list()).toEqual(before);
    });

    it('is revoked also if a listener of the event throws, which is logged', async () => {
      const emitter = app.nest.get(EventEmitter2);
      const failures = {
        rejects: () => Promise.reject(new Error('the listener is broken')),
        throws: () => {
          throw new Error('the listener is worse');
        },
      };
      for (const [failure, failing] of Object.entries(failures)) {
        emitter.on('expiring-token.reused', failing);
        const login = await newLogin(app);
        await refresh(app, (await refresh(app, login.refreshToken)).json.refreshToken);
        expect(await refresh(app, login.refreshToken), failure).toMatchObject({ status: 401, json: INVALID });
        expect(await rowsOf(app, login.deviceId), failure).toEqual([]);
        emitter.off('expiring-token.reused', failing);
      }
      for (const text of ['the listener is broken', 'the listener is worse']) {
        await vi.waitUntil(() => warnings.some((line) => line.includes(text)));
      }
    });

    it('is revoked when a refresh token older than the last one is reused, even within the grace period', async () => {
      const login = await newLogin(app);
      const second = (await refresh(app, login.refreshToken)).json;
      const third = (await refresh(app, second.refreshToken)).json;
      expect(await refresh(app, login.refreshToken)).toMatchObject({ status: 401, json: INVALID });
      expect(await codeOf(app, third.token)).toBe('token_invalid');
      expect((await refresh(app, third.refreshToken)).status).toBe(401);
    });

    it('expires when its refresh token was not used for idle, or when its login is older than lifespan', async () => {
      const idle = await newLogin(app);
      app.clock.advance(7 * DAY_MS);
      expect(await refresh(app, idle.refreshToken)).toMatchObject({ status: 401, json: INVALID });

      let { refreshToken } = await newLogin(app);
      const login = app.clock.now;
      for (let day = 6; day < 90; day += 6) {
        app.clock.advance(6 * DAY_MS);
        ({ refreshToken } = (await refresh(app, refreshToken)).json);
      }
      expect(app.clock.now).toBe(login + 84 * DAY_MS);
      app.clock.advance(3 * DAY_MS);
      const last = (await refresh(app, refreshToken)).json;
      expect(last.refreshExpiresAt).toBe(new Date(login + 90 * DAY_MS).toISOString());
      expect(last.refreshExpiresIn).toBe(3 * 24 * 3600);
      app.clock.advance(3 * DAY_MS);
      expect(await refresh(app, last.refreshToken)).toMatchObject({ status: 401, json: INVALID });
    });

    it('cannot refresh while its user is inactive, and can when the user is active again', async () => {
      const user = await app.createUser();
      const { refreshToken } = await logIn(app, user.username);
      await app.users.setActive(user.id, false);
      const { status, json } = await refresh(app, refreshToken);
      expect(status).toBe(401);
      expect(json.code).toBe('user_inactive');
      await app.users.setActive(user.id, true);
      expect((await refresh(app, refreshToken)).status).toBe(200);
      await app.users.setActive(user.id, false);
      expect((await refresh(app, refreshToken)).json.code).toBe('user_inactive');
    });

    it('ends with every way of revocation', async () => {
      const revocations: [string, (login: any, user: { id: string }) => Promise<unknown>][] = [
        ['logout', ({ token }) => app.post('/auth/logout', undefined, token)],
        ['logout-all', ({ token }) => app.post('/auth/logout-all', undefined, token)],
        [
          'DELETE /auth/devices/:id',
          ({ token, deviceId }) => app.send(`/auth/devices/${deviceId}`, { method: 'DELETE', headers: bearer(token) }),
        ],
        ['revoke', ({ deviceId }, { id }) => app.tokens.revoke(id, deviceId)],
        ['revokeAll', (_, { id }) => app.tokens.revokeAll(id)],
        ['changePassword', (_, { id }) => app.users.changePassword(id, 'another password')],
        ['delete', (_, { id }) => app.users.delete(id)],
      ];
      for (const [name, revoke] of revocations) {
        const user = await app.createUser();
        const login = await logIn(app, user.username);
        const pair = (await refresh(app, login.refreshToken)).json;
        await revoke(pair, user);
        expect(await refresh(app, pair.refreshToken), name).toMatchObject({ status: 401, json: INVALID });
        expect(await refresh(app, login.refreshToken), name).toMatchObject({ status: 401, json: INVALID });
        expect(await codeOf(app, pair.token), name).toBe('token_invalid');
        expect(await rowsOf(app, login.deviceId), name).toEqual([]);
      }
    });

    it('counts once in logout-all, and is kept with keepCurrent', async () => {
      const user = await app.createUser();
      await logIn(app, user.username);
      const kept = await logIn(app, user.username);
      const { json } = await app.post('/auth/logout-all', { keepCurrent: true }, kept.token);
      expect(json).toEqual({ revoked: 1 });
      expect((await refresh(app, kept.refreshToken)).status).toBe(200);
    });

    it('is listed and can be revoked by its refresh token after its access token expired', async () => {
      const user = await app.createUser();
      const { deviceId } = await logIn(app, user.username);
      app.clock.advance(HOUR_MS);
      expect(await app.tokens.list(user.id)).toMatchObject([{ id: deviceId }]);
      expect(await app.tokens.revoke(user.id, deviceId)).toBe(true);
      expect(await app.tokens.list(user.id)).toEqual([]);
    });

    it('cannot use its refresh token as an access token, nor the reverse', async () => {
      const { token, refreshToken } = await newLogin(app);
      expect(await codeOf(app, refreshToken)).toBe('token_invalid');
      expect(await refresh(app, token)).toMatchObject({ status: 401, json: INVALID });
      expect((await refresh(app, refreshToken)).status).toBe(200);
      expect(await codeOf(app, refreshToken)).toBe('token_invalid');
    });

    it('gets an error that names a missing, malformed or second token', async () => {
      const { token, refreshToken } = await newLogin(app);
      const none = await app.post('/auth/refresh');
      expect(none).toMatchObject({ status: 401, json: INVALID });
      expect(none.headers['www-authenticate']).toBe('Bearer realm="api"');
      expect(await app.post('/auth/refresh', {})).toMatchObject({ status: 401, json: INVALID });
      const both = await app.send('/auth/refresh', {
        method: 'POST',
        headers: [['Refresh-Token', refreshToken]],
        body: { refreshToken },
      });
      expect(both.json).toMatchObject({ statusCode: 400, code: 'request_invalid' });
      for (const wrong of [7, null, [], { $ne: null }, true]) {
        const { json } = await app.post('/auth/refresh', { refreshToken: wrong });
        expect(json, JSON.stringify(wrong)).toMatchObject({ statusCode: 400, code: 'validation_failed' });
        expect(json.message, JSON.stringify(wrong)).toBe('refreshToken must be a string');
      }
      const elsewhere = [
        ['GET', '/me'],
        ['GET', '/optional'],
        ['GET', '/auth/devices'],
        ['GET', '/auth/token'],
        ['POST', '/auth/logout'],
        ['POST', '/auth/login'],
        ['POST', '/auth/obtain-token'],
      ] as const;
      for (const [method, path] of elsewhere) {
        const headers = [...bearer(token), ['refresh-token', refreshToken]] as const;
        const { json, headers: answered } = await app.send(path, { method, headers });
        expect(json, path).toMatchObject({ statusCode: 400, code: 'request_invalid' });
        expect(answered['www-authenticate'], path).toContain('error="invalid_request"');
      }
      const passport = await app.send('/passport', { headers: [...bearer(token), ['Refresh-Token', refreshToken]] });
      expect(passport.status).toBe(400);
      expect((await app.send('/public', { headers: [['Refresh-Token', refreshToken]] })).status).toBe(200);
      expect((await refresh(app, refreshToken)).status).toBe(200);
    });

    it('stores nothing that can be used, and deletes the sealed response after the grace period', async () => {
      const login = await newLogin(app);
      const pair = (await refresh(app, login.refreshToken)).json;
      const dump = JSON.stringify(await app.dump(), (_, value: unknown) =>
        value instanceof Uint8Array || value instanceof ArrayBuffer
          ? Buffer.from(value as Uint8Array).toString('latin1')
          : value,
      );
      for (const [index, secret] of [login.token, login.refreshToken, pair.token, pair.refreshToken].entries()) {
        expect(dump, `secret ${index}`).not.toContain(secret);
        expect(dump, `secret ${index}`).not.toContain(secret.slice(4, -6));
      }
      const rotated = (await rowsOf(app, login.deviceId)).find(({ purpose }) => purpose === 'rotated')!;
      const sealed = Buffer.from(rotated.sealed!);
      expect(open(sealed, login.refreshToken)).toBe(`${pair.token} ${pair.refreshToken}`);
      for (const [index, other] of [login.token, pair.token, pair.refreshToken].entries()) {
        expect(() => open(sealed, other), `other ${index}`).toThrow('unable to authenticate');
      }
      expect(rotated.sealedUntil).toEqual(new Date(app.clock.now + 30 * SECOND_MS));

      await refresh(app, pair.refreshToken);
      const before = (await rowsOf(app, login.deviceId)).find(({ id }) => id === rotated.id);
      expect(before).toMatchObject({ purpose: 'rotated', sealed: null, sealedUntil: null });
    });
  });
});

describe('The option refresh', () => {
  afterEach(() => vi.useRealTimers());

  onEveryEnvironment(
    (environment) => {
      it('treats every reuse as theft if grace is 0', async () => {
        const app = await environment.boot({ options: { refresh: { grace: 0 } } });
        const login = await newLogin(app);
        const pair = (await refresh(app, login.refreshToken)).json;
        expect((await rowsOf(app, login.deviceId)).map(({ sealed }) => sealed)).toEqual([null, null, null, null]);
        expect(await refresh(app, login.refreshToken)).toMatchObject({ status: 401, json: INVALID });
        expect(await codeOf(app, pair.token)).toBe('token_invalid');
      });

      it("keeps the application's own columns when the token is rotated", async () => {
        @Entity('scoped_token')
        class ScopedToken extends Token {
          @Column('varchar', { length: 255, nullable: true })
          scope: string | null;
        }
        const app = await environment.boot({ options: { refresh: {}, tokenEntity: ScopedToken } });
        const scoped = app.dataSource.getRepository(ScopedToken);
        const login = await newLogin(app);
        await scoped.update({ deviceId: login.deviceId }, { scope: 'notes' });
        const pair = (await refresh(app, login.refreshToken)).json;
        expect((await app.get('/me', pair.token)).json.token.scope).toBe('notes');
        await refresh(app, pair.refreshToken);
        const rows = await scoped.findBy({ deviceId: login.deviceId });
        expect(rows.map(({ scope }) => scope)).toEqual(Array.from({ length: 6 }, () => 'notes'));
      });

      it('never lets the grace period outlast the tokens', async () => {
        const app = await environment.boot({ options: { refresh: { lifespan: '1m', idle: '1m' } } });
        const login = await newLogin(app);
        app.clock.advance(50 * SECOND_MS);
        expect((await refresh(app, login.refreshToken)).status).toBe(200);
        app.clock.advance(10 * SECOND_MS);
        expect(await refresh(app, login.refreshToken)).toMatchObject({ status: 401, json: INVALID });
      });

      it('returns whole lifetimes at login and refresh while the clock advances', async () => {
        const clock = new TestClock();
        let reading = clock.now;
        Object.defineProperty(clock, 'now', { get: () => reading++ });
        const app = await environment.boot({ options: { refresh: {} }, clock });
        const whole = { expiresIn: 3600, refreshExpiresIn: 7 * 24 * 3600 };
        const login = await newLogin(app);
        expect(login).toMatchObject(whole);
        expect((await refresh(app, login.refreshToken)).json).toMatchObject(whole);
      });

      it('sets the header name and the lifetime of refresh tokens, also of those already issued', async () => {
        const before = await environment.boot({ options: { refresh: {} } });
        const login = await newLogin(before);
        const app = await environment.boot({
          options: { refresh: { header: 'X-Renew', idle: '1d', lifespan: null }, lifespan: '5m' },
          clock: before.clock,
        });
        expect((await refresh(app, login.refreshToken)).status).toBe(401);
        const { json } = await refresh(app, login.refreshToken, 'x-renew');
        expect(json).toMatchObject({ expiresIn: 300, refreshExpiresIn: 24 * 3600 });
        before.clock.advance(DAY_MS);
        expect((await refresh(app, json.refreshToken, 'X-Renew')).status).toBe(401);
        expect((await refresh(before, json.refreshToken)).status).toBe(200);
      });

      it('adds no route, header or token if it is not set', async () => {
        const factory = ExpiringTokenModule.forRootAsync({ useFactory: () => ({ prune: false }) });
        for (const [method, app] of Object.entries({
          forRoot: await environment.boot(),
          forRootAsync: await environment.boot({ module: [factory] }),
        })) {
          const login = await newLogin(app);
          expect(login, method).not.toHaveProperty('refreshToken');
          const { status, json } = await refresh(app, login.token);
          expect(status, method).toBe(404);
          expect(json, method).toEqual({ statusCode: 404, error: 'Not Found', message: 'Cannot POST /auth/refresh' });
          const sent = await app.send('/me', { headers: [...bearer(login.token), ['Refresh-Token', 'x']] });
          expect(sent.status, method).toBe(200);
          await expect(app.tokens.refresh(login.token), method).rejects.toThrow('needs the option refresh');
        }
      });

      it('adds nothing to the OpenAPI document if it is not set', async () => {
        const pathsOf = async (options: ExpiringTokenModuleOptions) =>
          Object.keys(
            SwaggerModule.createDocument((await environment.boot({ options })).nest, new DocumentBuilder().build())
              .paths,
          );
        expect(await pathsOf({ refresh: {} })).toContain('/auth/refresh');
        expect(await pathsOf({})).not.toContain('/auth/refresh');
      });

      it('deletes sealed responses as soon as their grace period ends, device by device', async () => {
        // Only timers of the package are counted: drivers have timers of their own.
        vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
        // A response that another process sealed with a longer grace period delays nothing.
        const other = await environment.boot({ options: { refresh: { grace: '60s' } } });
        await refresh(other, (await newLogin(other)).refreshToken);
        const app = await environment.boot({ options: { refresh: {} }, clock: other.clock });
        const forgetting = app.nest.get(TokenPruner)['forgetting'];
        const pass = async (milliseconds: number) => {
          app.clock.advance(milliseconds);
          vi.advanceTimersByTime(milliseconds);
          await forgetting['running'];
        };
        await pass(0);
        const logins = [await newLogin(app), await newLogin(app)];
        for (const { refreshToken } of logins) {
          await refresh(app, refreshToken);
          await pass(10 * SECOND_MS);
        }
        const sealed = async () => {
          const rows = await Promise.all(logins.map(({ deviceId }) => rowsOf(app, deviceId)));
          return rows.map((own) => own.filter((row) => row.sealed).length);
        };
        await pass(10 * SECOND_MS - 1);
        expect(await sealed()).toEqual([1, 1]);
        await pass(1);
        expect(await sealed()).toEqual([0, 1]);
        await pass(10 * SECOND_MS - 1);
        expect(await sealed()).toEqual([0, 1]);
        await pass(1);
        expect(await sealed()).toEqual([0, 0]);
      });

      it('deletes after a restart the sealed responses of a process that was killed', async () => {
        const app = await environment.boot({ options: { refresh: {} } });
        const login = await newLogin(app);
        await refresh(app, login.refreshToken);
        const sealed = async () => (await rowsOf(app, login.deviceId)).filter((row) => row.sealed).length;
        expect(await sealed()).toBe(1);
        app.clock.advance(30 * SECOND_MS - 1);
        await environment.boot({ options: { refresh: {} }, clock: app.clock });
        await refresh(app, login.refreshToken);
        expect(await sealed()).toBe(1);
        app.clock.advance(1);
        await environment.boot({ options: { refresh: {} }, clock: app.clock });
        await vi.waitUntil(async () => (await sealed()) === 0, { timeout: 10_000 });
      });
    },
    { adapters: ['express'] },
  );
});

describe('A sealed refresh response', () => {
  it('is opened with the token that it was sealed with, and with nothing else', () => {
    const sealed = seal('two tokens', 'the presented one');
    expect(open(sealed, 'the presented one')).toBe('two tokens');
    expect(seal('two tokens', 'the presented one')).not.toEqual(sealed);
    expect(() => open(sealed, 'another one')).toThrow('unable to authenticate');
    for (const index of sealed.keys()) {
      const damaged = Buffer.from(sealed);
      damaged[index]! ^= 1;
      expect(() => open(damaged, 'the presented one'), `byte ${index}`).toThrow('unable to authenticate');
    }
  });
});
