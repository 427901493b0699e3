import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { PersonalTokenService, Token, type User } from 'nestjs-expiring-token';
import { ApiDocument } from './fixtures/api-document.js';
import { onEveryAdapter, onEveryDatabase, onEveryEnvironment, onOneEnvironment, type TestApp } from './fixtures/app.js';
import { type Answer, bearer } from './fixtures/http.js';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

const personalOf = (app: TestApp) => app.nest.get(PersonalTokenService);

const send = (app: TestApp, method: string, path: string, token: string, body?: unknown) =>
  app.send(path, { method, body, headers: bearer(token) });

/** The code of a rejection of the guard; `'200'` if the token is accepted. */
const use = async (app: TestApp, token: string): Promise<string> => {
  const { status, json } = await app.get('/me', token);
  return status === 200 ? '200' : json.code;
};

const iso = (ms: number) => new Date(ms).toISOString();

describe('A user with a login', () => {
  onEveryEnvironment((environment) => {
    let app: TestApp;
    let user: User;
    let login: string;
    beforeAll(async () => {
      app = await environment.boot({ options: { personal: { perUser: 5 } } });
    });
    beforeEach(async () => {
      user = await app.createUser();
      login = await app.token(user.id);
    });

    const make = async (body: object = { name: 'nightly export' }, token = login) =>
      (await app.post('/auth/tokens', body, token)).json;

    it('makes a personal token, which is shown once, with a prefix of its own and a life of 90 days', async () => {
      const { status, json, headers } = await app.post('/auth/tokens', { name: 'nightly\u0000 export' }, login);
      expect(status).toBe(201);
      expect(headers).toMatchObject({ 'cache-control': 'no-store', pragma: 'no-cache' });
      const shown = {
        id: json.id,
        name: 'nightly export',
        scopes: null,
        createdAt: iso(app.clock.now),
        expiresAt: iso(app.clock.now + 90 * DAY_MS),
      };
      const { token } = json;
      expect(json).toEqual({ ...shown, expiresIn: 90 * 86_400, lastUsedAt: null, token, tokenType: 'Bearer' });
      expect(token).toMatch(/^extp_[\w-]{70}$/);
      const listed = await app.get('/auth/tokens', login);
      expect(listed.status).toBe(200);
      expect(listed.headers).toMatchObject({ 'cache-control': 'no-store', pragma: 'no-cache' });
      expect(listed.json).toEqual([{ ...shown, lastUsedAt: null }]);
      const me = await app.get('/me', token);
      expect(me.json).toMatchObject({
        user: { id: user.id },
        token: { deviceId: json.id, purpose: 'personal', authenticatedAt: null, actorId: null },
      });
    });

    it('asks for another life in seconds, at most the longest one', async () => {
      expect((await make({ name: 'a', expiresIn: 60 })).expiresAt).toBe(iso(app.clock.now + 60_000));
      const year = await make({ name: 'b', expiresIn: 365 * 86_400 });
      expect([year.expiresIn, year.expiresAt]).toEqual([365 * 86_400, iso(app.clock.now + 365 * DAY_MS)]);
      for (const expiresIn of [365 * 86_400 + 1, 0, -1, 1.5, '60', true, [], null]) {
        const { status, json } = await app.post('/auth/tokens', { name: 'c', expiresIn }, login);
        expect({ status, code: json.code, message: json.message }, String(expiresIn)).toEqual({
          status: 400,
          code: 'validation_failed',
          message: 'expiresIn must be a whole number of seconds from 1 to 31536000',
        });
      }
    });

    it.each([
      [{}, 'name must be a string'],
      [{ name: 7 }, 'name must be a string'],
      [{ name: ' \u0007' }, 'name must be a string with visible characters'],
      [[], 'body must be a JSON object'],
    ])('is told which field is wrong: %o', async (body, message) => {
      const { status, json } = await app.post('/auth/tokens', body, login);
      expect({ status, json }).toEqual({
        status: 400,
        json: { statusCode: 400, error: 'Bad Request', message, code: 'validation_failed' },
      });
      expect((await app.get('/auth/tokens', login)).json).toEqual([]);
    });

    it('lists live ones only, the newest first, with their last use', async () => {
      await make({ name: 'short', expiresIn: 1 });
      app.clock.advance(1000);
      const first = await make({ name: 'first' });
      app.clock.advance(1000);
      const second = await make({ name: 'second' });
      await app.get('/me', first.token);
      await app.usesWritten();
      const { json, text } = await app.get('/auth/tokens', login);
      expect(json.map(({ id, lastUsedAt }: typeof json) => [id, lastUsedAt])).toEqual([
        [second.id, null],
        [first.id, iso(app.clock.now)],
      ]);
      expect(text).not.toContain(first.token);
      expect(text).not.toContain('digest');
    });

    it('renames one', async () => {
      const { id, token } = await make();
      const { status, json } = await send(app, 'PATCH', `/auth/tokens/${id}`, login, { name: 'weekly' });
      expect({ status, json }).toEqual({ status: 200, json: (await app.get('/auth/tokens', login)).json[0] });
      expect(json).toMatchObject({ id, name: 'weekly' });
      expect((await app.get('/auth/token', token)).json).toMatchObject({ deviceId: id, name: 'weekly' });
      const nameless = await send(app, 'PATCH', `/auth/tokens/${id}`, login, { name: '\u0000' });
      expect(nameless.json.code).toBe('validation_failed');
    });

    it('revokes one, which is rejected immediately', async () => {
      const [one, other] = [await make(), await make()];
      const { status, text } = await send(app, 'DELETE', `/auth/tokens/${one.id}`, login);
      expect({ status, text }).toEqual({ status: 204, text: '' });
      expect(await use(app, one.token)).toBe('token_invalid');
      expect(await use(app, other.token)).toBe('200');
      expect(await use(app, login)).toBe('200');
    });

    it('rotates one: the id, name and length of life stay, and the earlier secret is rejected immediately', async () => {
      const made = await make({ name: 'deploy', expiresIn: 3600 });
      app.clock.advance(1000);
      const { status, json, headers } = await app.post(`/auth/tokens/${made.id}/rotate`, undefined, login);
      expect(status).toBe(200);
      expect(headers).toMatchObject({ 'cache-control': 'no-store', pragma: 'no-cache' });
      const { token } = json;
      const createdAt = iso(app.clock.now);
      const expiresAt = iso(app.clock.now + HOUR_MS);
      expect(json).toEqual({ ...made, token, createdAt, expiresAt });
      expect(token).not.toBe(made.token);
      expect([await use(app, made.token), await use(app, token)]).toEqual(['token_invalid', '200']);
      expect((await app.get('/auth/tokens', login)).json).toMatchObject([{ id: made.id, createdAt, expiresAt }]);
    });

    it('rotates one with an overlap, in which both secrets are valid, and of which one is kept', async () => {
      const first = await make({ name: 'deploy' });
      const rotate = (overlap: unknown) => app.post(`/auth/tokens/${first.id}/rotate`, { overlap }, login);
      const second = (await rotate(60)).json;
      expect([await use(app, first.token), await use(app, second.token)]).toEqual(['200', '200']);
      expect((await app.get('/auth/tokens', login)).json).toHaveLength(1);
      app.clock.advance(59_999);
      expect(await use(app, first.token)).toBe('200');
      app.clock.advance(1);
      expect([await use(app, first.token), await use(app, second.token)]).toEqual(['token_expired', '200']);

      const third = (await rotate(3600)).json;
      const fourth = (await rotate(3600)).json;
      expect([await use(app, second.token), await use(app, third.token), await use(app, fourth.token)]).toEqual([
        'token_invalid',
        '200',
        '200',
      ]);
      const rows = await app.dataSource.getRepository(Token).findBy({ deviceId: first.id });
      expect(rows).toHaveLength(2);
      const { json } = await app.get('/auth/tokens', login);
      expect(json).toMatchObject([{ id: first.id, expiresAt: iso(app.clock.now + 90 * DAY_MS) }]);
      await send(app, 'DELETE', `/auth/tokens/${first.id}`, login);
      expect([await use(app, third.token), await use(app, fourth.token)]).toEqual(['token_invalid', 'token_invalid']);

      for (const overlap of [-1, 604_801, 1.5, '60']) {
        const { status, json: problem } = await rotate(overlap);
        expect({ status, message: problem.message }, String(overlap)).toEqual({
          status: 400,
          message: 'overlap must be a whole number of seconds from 0 to 604800',
        });
      }
    });

    it('never prolongs the life of the earlier secret by an overlap, even if the clock was set back', async () => {
      const made = await make({ name: 'short', expiresIn: 60 });
      const rotated = (await app.post(`/auth/tokens/${made.id}/rotate`, { overlap: 3600 }, login)).json;
      app.clock.advance(-5000);
      const again = (await app.post(`/auth/tokens/${made.id}/rotate`, { overlap: 3600 }, login)).json;
      expect((await app.get('/auth/tokens', login)).json).toMatchObject([{ expiresAt: again.expiresAt }]);
      app.clock.advance(60_000);
      expect(await use(app, again.token)).toBe('token_expired');
      app.clock.advance(5000);
      expect([await use(app, made.token), await use(app, rotated.token)]).toEqual(['token_invalid', 'token_expired']);
    });

    it('finds neither an unknown one, nor that of another user, nor a device: with identical bytes', async () => {
      const [own, device] = [await make(), (await app.get('/auth/devices', login)).json[0]];
      const other = await make({ name: 'foreign' }, await app.token());
      const expired = await make({ name: 'expired', expiresIn: 1 });
      app.clock.advance(1000);
      const ids = [other.id, device.id, expired.id, '01b8e094-9b2e-7000-8000-000000000000', own.id.toUpperCase(), '1'];
      for (const [method, suffix, body] of [
        ['DELETE', '', undefined],
        ['PATCH', '', { name: 'x' }],
        ['POST', '/rotate', undefined],
      ] as const) {
        const answers: Answer[] = [];
        for (const id of [...ids, "'", '%00']) {
          answers.push(await send(app, method, `/auth/tokens/${id}${suffix}`, login, body));
        }
        expect(new Set(answers.map(({ status, text }) => `${status} ${text}`))).toEqual(
          new Set(['404 {"statusCode":404,"error":"Not Found","message":"Token not found","code":"token_not_found"}']),
        );
      }
      expect([await use(app, other.token), await use(app, login)]).toEqual(['200', '200']);
    });

    it('can have no more of them than perUser, of which expired and rotated ones are none', async () => {
      const made = await make();
      await app.post(`/auth/tokens/${made.id}/rotate`, { overlap: 3600 }, login);
      await make({ name: 'short', expiresIn: 1 });
      for (let rest = 0; rest < 3; rest++) await make();
      const refused = await app.post('/auth/tokens', { name: 'one more' }, login);
      expect({ status: refused.status, json: refused.json }).toEqual({
        status: 403,
        json: { statusCode: 403, error: 'Forbidden', message: 'Too many tokens', code: 'limit_reached' },
      });
      app.clock.advance(1000);
      expect(await make()).toHaveProperty('token');
      expect((await app.post('/auth/tokens', { name: 'x' }, login)).json.code).toBe('limit_reached');
      await send(app, 'DELETE', `/auth/tokens/${made.id}`, login);
      expect(await make()).toHaveProperty('token');
    });
  });
});

describe('A personal token', () => {
  onEveryDatabase((environment) => {
    let app: TestApp;
    let user: User;
    let login: string;
    let made: Awaited<ReturnType<PersonalTokenService['issue']>>;
    beforeAll(async () => {
      app = await environment.boot({
        options: { personal: true, limit: { perUser: 2, policy: 'evict' }, idle: '20d', refresh: {}, lifespan: '30d' },
      });
    });
    beforeEach(async () => {
      user = await app.createUser();
      made = await personalOf(app).issue(user.id, { name: 'nightly export' });
      login = await app.token(user.id);
    });

    const id = () => made.token.deviceId;

    it('is no device: it is neither listed nor found as one, and does not count for the limit', async () => {
      await app.token(user.id);
      await app.token(user.id);
      const devices = await app.tokens.list(user.id);
      expect(devices).toHaveLength(2);
      expect(devices.map((device) => device.id)).not.toContain(id());
      expect(await app.tokens.revoke(user.id, id())).toBe(false);
      await expect(app.tokens.rename(user.id, id(), 'x')).rejects.toMatchObject({ code: 'device_not_found' });
      const fresh = await app.token(user.id);
      const removed = await send(app, 'DELETE', `/auth/devices/${id()}`, fresh);
      expect(removed.json.code).toBe('device_not_found');
      expect(await personalOf(app).list(user.id)).toMatchObject([{ id: id(), name: 'nightly export' }]);
      expect(await use(app, made.plainText)).toBe('200');
    });

    it.each([
      ['logout-all', async () => void (await app.post('/auth/logout-all', undefined, login))],
      ['revokeAll', async () => expect(await app.tokens.revokeAll(user.id)).toBe(1)],
      ['revokeAll with except', async () => void (await app.tokens.revokeAll(user.id, { except: id() }))],
      ['changePassword', async () => void (await app.users.changePassword(user.id, 'another horse'))],
    ])('does not end with %s', async (_, end) => {
      await end();
      expect([await use(app, login), await use(app, made.plainText)]).toEqual(['token_invalid', '200']);
    });

    it.each([
      ['revokeAll', () => app.tokens.revokeAll(user.id, { personal: true }), 1],
      ['changePassword', () => app.users.changePassword(user.id, 'another horse', { personal: true }), true],
      ['setActive with revoke', () => app.users.setActive(user.id, false, { revoke: true }), true],
      ['delete', () => app.users.delete(user.id), true],
    ])('ends with %s', async (_, end, result) => {
      expect(await end()).toBe(result);
      expect([await use(app, login), await use(app, made.plainText)]).toEqual(['token_invalid', 'token_invalid']);
      expect(await app.dataSource.getRepository(Token).countBy({ userId: user.id })).toBe(0);
    });

    it('ends with revokeAll of a user who has no device', async () => {
      await app.tokens.revokeAll(user.id);
      expect(await app.tokens.revokeAll(user.id, { personal: true })).toBe(0);
      expect(await use(app, made.plainText)).toBe('token_invalid');
    });

    it('of an inactive user is answered user_inactive, and works again afterwards', async () => {
      await app.users.setActive(user.id, false);
      expect(await use(app, made.plainText)).toBe('user_inactive');
      await app.users.setActive(user.id, true);
      expect(await use(app, made.plainText)).toBe('200');
    });

    it('lives as long as it was made for, whatever the options are later', async () => {
      const { clock } = app;
      const other = await environment.boot({ options: { personal: { lifespan: '1d', longest: '2d' } }, clock });
      clock.advance(15 * DAY_MS);
      expect(await use(other, made.plainText)).toBe('200');
      await other.usesWritten();
      clock.advance(15 * DAY_MS);
      expect(await use(app, made.plainText)).toBe('200');
      // A rotation does not exceed what is the longest life now.
      const { token } = await personalOf(other).rotate(user.id, id());
      expect(token.lifespan).toBe(2 * DAY_MS);
    });

    it('expires if it is not used for idle, as any token', async () => {
      app.clock.advance(20 * DAY_MS);
      expect(await use(app, made.plainText)).toBe('token_expired');
      expect(await personalOf(app).list(user.id)).toEqual([]);
    });

    it('is pruned some time after it expired', async () => {
      app.clock.advance(20 * DAY_MS + 8 * DAY_MS);
      await app.tokens.prune();
      expect(await app.dataSource.getRepository(Token).countBy({ userId: user.id })).toBe(0);
    });

    it('is rotated in code with an overlap that has a unit, or is a number of milliseconds', async () => {
      const rotate = (overlap: number | string) => personalOf(app).rotate(user.id, id(), { overlap });
      await expect(rotate(60)).rejects.toThrow("such as '60s'");
      await expect(rotate('8d')).rejects.toThrow('from 0 to 7 days');
      const { plainText } = await rotate('1h');
      expect([await use(app, made.plainText), await use(app, plainText)]).toEqual(['200', '200']);
      expect((await rotate(0)).token.deviceId).toBe(id());
      expect([await use(app, made.plainText), await use(app, plainText)]).toEqual(['token_invalid', 'token_invalid']);
    });

    it('keeps its length of life if it is rotated again although the last secret expired unused', async () => {
      const strict = await environment.boot({ options: { personal: true, idle: '1d' }, clock: app.clock });
      const { plainText, token } = await personalOf(strict).issue(user.id, { name: 'x', lifespan: '90d' });
      const unused = await personalOf(strict).rotate(user.id, token.deviceId, { overlap: '7d' });
      app.clock.advance(0.6 * DAY_MS);
      expect(await use(strict, plainText)).toBe('200');
      await strict.usesWritten();
      app.clock.advance(0.6 * DAY_MS);
      expect([await use(strict, plainText), await use(strict, unused.plainText)]).toEqual(['200', 'token_expired']);
      const rotated = await personalOf(strict).rotate(user.id, token.deviceId);
      expect(rotated.token.lifespan).toBe(90 * DAY_MS);
      expect([await use(strict, plainText), await use(strict, rotated.plainText)]).toEqual(['token_invalid', '200']);
    });

    it('cannot be refreshed', async () => {
      const { status, json } = await app.post('/auth/refresh', { refreshToken: made.plainText });
      expect({ status, code: json.code }).toEqual({ status: 401, code: 'refresh_invalid' });
      expect(await use(app, made.plainText)).toBe('200');
    });

    it('is issued exactly perUser times by forty simultaneous calls', async () => {
      // The last of them waits for all others, on a busy machine for longer than the default.
      const options = { personal: { perUser: 5 }, timeout: '60s' };
      const limited = await environment.boot({ options, clock: app.clock });
      const { id: userId } = await app.createUser();
      const calls = Array.from({ length: 40 }, () => personalOf(limited).issue(userId, { name: 'x' }));
      const results = await Promise.allSettled(calls);
      const refused = results.filter((result) => result.status === 'rejected');
      expect(refused.map(({ reason }) => [reason.code, reason.message])).toEqual(
        Array.from({ length: 35 }, () => ['limit_reached', 'Too many tokens']),
      );
      expect(await personalOf(limited).list(userId)).toHaveLength(5);
    });

    it('cannot fill the table: of expired ones a bounded number is kept', async () => {
      const limited = await environment.boot({ options: { personal: { perUser: 2 } }, clock: app.clock });
      const { id: userId } = await app.createUser();
      for (let turn = 0; turn < 12; turn++) {
        await personalOf(limited).issue(userId, { name: 'x', lifespan: 1 });
        app.clock.advance(1);
      }
      expect(await app.dataSource.getRepository(Token).countBy({ userId })).toBe(5);
    });

    it('is not made for another user than that of the login', async () => {
      const other = await app.createUser();
      const { token: by } = await app.tokens.authenticate(await app.token(other.id));
      const attempts = [
        personalOf(app).issue(user.id, { name: 'stolen', by }),
        personalOf(app).rotate(user.id, id(), { by }),
      ];
      for (const attempt of attempts) await expect(attempt).rejects.toMatchObject({ code: 'token_invalid' });
      expect(await personalOf(app).list(user.id)).toHaveLength(1);
      expect(await use(app, made.plainText)).toBe('200');
    });

    it('says the same of every id to a login that may make none', async () => {
      const { token: by } = await app.tokens.issue(user.id, { actor: 'an administrator', lifespan: '1h' });
      for (const each of [id(), '01b8e094-9b2e-7000-8000-000000000000']) {
        const attempt = personalOf(app).rotate(user.id, each, { by });
        await expect(attempt, each).rejects.toMatchObject({ code: 'login_required' });
      }
    });

    it('is not made with a login that was revoked while the request waited', async () => {
      const { authInfo } = { authInfo: await app.tokens.authenticate(login) };
      await app.tokens.revokeAll(user.id);
      const attempts = [
        personalOf(app).issue(user.id, { name: 'late', by: authInfo.token }),
        personalOf(app).rotate(user.id, id(), { by: authInfo.token }),
      ];
      for (const attempt of attempts) await expect(attempt).rejects.toMatchObject({ code: 'token_invalid' });
      expect(await use(app, made.plainText)).toBe('200');
    });
  });
});

describe('A personal token with scopes', () => {
  onEveryEnvironment((environment) => {
    const SCOPES = ['notes:read', 'notes:write', 'admin'];
    let app: TestApp;
    let userId: string;
    let login: string;
    beforeAll(async () => {
      app = await environment.boot({ options: { personal: true, scopes: SCOPES } });
    });
    beforeEach(async () => {
      userId = (await app.createUser()).id;
      login = await app.token(userId);
    });

    const make = (scopes: unknown, token = login) => app.post('/auth/tokens', { name: 'export', scopes }, token);
    const scoped = async (scopes: string[]) => (await app.tokens.issue(userId, { scopes })).plainText;
    const refusal = {
      statusCode: 403,
      error: 'Forbidden',
      message: 'The token lacks a required scope',
      code: 'scope_insufficient',
    };

    it('is made, shown and rotated with them', async () => {
      const scopes = ['notes:read', 'notes:write'];
      const { status, json } = await make(scopes);
      expect({ status, json }).toMatchObject({ status: 201, json: { scopes } });
      expect((await app.get('/auth/token', json.token)).json).toMatchObject({ scopes });
      expect((await app.get('/auth/tokens', login)).json).toMatchObject([{ scopes }]);
      const rotated = await app.post(`/auth/tokens/${json.id}/rotate`, undefined, login);
      expect(rotated.json).toMatchObject({ scopes });
      expect((await app.get('/auth/token', rotated.json.token)).json).toMatchObject({ scopes });
      expect((await make([])).json.scopes).toEqual([]);
      expect((await make(null)).json.scopes).toBeNull();
      expect((await make(['admin', 'admin'])).json.scopes).toEqual(['admin']);
    });

    it.each([[['notes:delete']], ['notes:read'], [[1]], [{}], [['notes:read notes:write']], [[null]], [true]])(
      'is not made with others than those of the option: %o',
      async (scopes) => {
        const { status, json } = await make(scopes);
        expect({ status, code: json.code, message: json.message }).toEqual({
          status: 400,
          code: 'validation_failed',
          message: 'scopes must be a list of known scopes',
        });
      },
    );

    it('may do no more than the login with which it is made', async () => {
      const reader = await scoped(['notes:read']);
      for (const scopes of [['notes:read'], []]) expect((await make(scopes, reader)).status).toBe(201);
      for (const scopes of [['notes:read', 'admin'], ['admin'], null, undefined]) {
        const { status, json, headers } = await make(scopes, reader);
        expect({ status, json }, String(scopes)).toEqual({ status: 403, json: refusal });
        if (scopes)
          expect(headers['www-authenticate']).toContain(`error="insufficient_scope", scope="${scopes.join(' ')}"`);
      }
      expect((await app.get('/auth/tokens', login)).json).toHaveLength(2);
    });

    it('is not rotated by a login that may do less, which would get its secret', async () => {
      const { id, token } = (await make(null)).json;
      const { id: writer } = (await make(['notes:read', 'notes:write'])).json;
      const reader = await scoped(['notes:read']);
      for (const each of [id, writer]) {
        const { status, json } = await app.post(`/auth/tokens/${each}/rotate`, { overlap: 60 }, reader);
        expect({ status, json }).toEqual({ status: 403, json: refusal });
      }
      expect(await use(app, token)).toBe('200');
      const { json } = await app.post(`/auth/tokens/${writer}/rotate`, {}, await scoped(['notes:write', 'notes:read']));
      expect(json).toMatchObject({ id: writer, scopes: ['notes:read', 'notes:write'] });
    });

    it('is not made by a login of somebody else in place of the user', async () => {
      const { authInfo } = { authInfo: await app.tokens.authenticate(login) };
      await app.dataSource.getRepository(Token).update({ id: authInfo.token.id }, { actorId: 'admin' });
      const { id } = (await personalOf(app).issue(userId, { name: 'x' })).token;
      expect((await make(null)).json.code).toBe('login_required');
      const [{ id: listed }] = (await app.get('/auth/tokens', login)).json;
      expect((await app.post(`/auth/tokens/${listed}/rotate`, {}, login)).json.code).toBe('login_required');
      expect(id).toBe(listed);
    });

    it('is made in code with any scope of the option', async () => {
      const { token } = await personalOf(app).issue(userId, { name: 'x', scopes: ['admin'] });
      expect(token.scopes).toEqual(['admin']);
      await expect(personalOf(app).issue(userId, { name: 'x', scopes: ['other'] })).rejects.toThrow('scopes');
    });
  });

  onOneEnvironment((environment) => {
    it('is not made by a client without the option scopes', async () => {
      const app = await environment.boot({ options: { personal: true } });
      const login = await app.token();
      const { json } = await app.post('/auth/tokens', { name: 'x', scopes: ['notes:read'] }, login);
      expect(json.message).toBe('scopes must be a list of known scopes');
      expect((await app.post('/auth/tokens', { name: 'x', scopes: [] }, login)).json.scopes).toEqual([]);
    });
  });
});

describe('The documentation of the routes', () => {
  onEveryAdapter((environment) => {
    it('has every answer about personal tokens, and the bodies that they read', async () => {
      const app = await environment.boot({ options: { personal: { perUser: 1 }, scopes: ['notes:read'] } });
      const document = await ApiDocument.of(app);
      const login = await app.token();
      const expectDocumented = document.expectDocumented.bind(document);
      const made = await app.post('/auth/tokens', { name: 'x', scopes: ['notes:read'], expiresIn: 60 }, login);
      expectDocumented('post', '/auth/tokens', made);
      for (const body of [{ name: 'x' }, {}]) {
        expectDocumented('post', '/auth/tokens', await app.post('/auth/tokens', body, login));
      }
      expectDocumented('post', '/auth/tokens', await app.post('/auth/tokens', { name: 'x' }, made.json.token));
      expectDocumented('get', '/auth/tokens', await app.get('/auth/tokens', login));
      const path = '/auth/tokens/{id}';
      for (const id of [made.json.id, 'unknown']) {
        const rotate = await app.post(`/auth/tokens/${id}/rotate`, { overlap: 1 }, login);
        expectDocumented('post', `${path}/rotate`, rotate);
        expectDocumented('patch', path, await send(app, 'PATCH', `/auth/tokens/${id}`, login, { name: 'y' }));
        expectDocumented('delete', path, await send(app, 'DELETE', `/auth/tokens/${id}`, login));
      }
      for (const body of [{ name: 'x' }, { name: 'x', scopes: null }, { name: 'x', scopes: ['a'], expiresIn: 1 }]) {
        expect(document.acceptsBody('post', '/auth/tokens', body), JSON.stringify(body)).toBe(true);
      }
      expect(document.acceptsBody('post', '/auth/tokens', {})).toBe(false);
      expect(document.acceptsBody('post', '/auth/tokens', { name: 'x', expiresIn: 0 })).toBe(false);
    });
  });
});

describe('Personal tokens that never expire', () => {
  onEveryDatabase((environment) => {
    it('are made only where longest is null', async () => {
      const app = await environment.boot({ options: { personal: { longest: null } } });
      const login = await app.token();
      const { status, json } = await app.post('/auth/tokens', { name: 'x', expiresIn: null }, login);
      expect({ status, json }).toMatchObject({ status: 201, json: { expiresIn: null, expiresAt: null } });
      app.clock.advance(50 * 365 * DAY_MS);
      expect(await use(app, json.token)).toBe('200');
      const rotated = await app.post(
        `/auth/tokens/${json.id}/rotate`,
        { overlap: 60 },
        await app.token((await app.get('/me', json.token)).json.user.id),
      );
      expect(rotated.json).toMatchObject({ expiresIn: null, expiresAt: null });
      expect(await use(app, json.token)).toBe('200');
      app.clock.advance(60_000);
      expect(await use(app, json.token)).toBe('token_expired');
    });
  });
});

describe('Without the option personal', () => {
  onOneEnvironment((environment) => {
    it('there are no routes, and personal tokens are rejected without a query', async () => {
      const issuing = await environment.boot({ options: { personal: true } });
      const { id } = await issuing.createUser();
      const { plainText } = await personalOf(issuing).issue(id, { name: 'x' });
      const app = await environment.boot({ clock: issuing.clock });
      expect(await use(app, plainText)).toBe('token_invalid');
      const { status, json } = await app.get('/auth/tokens', await app.token(id));
      expect({ status, json }).toEqual({
        status: 404,
        json: { statusCode: 404, error: 'Not Found', message: 'Cannot GET /auth/tokens' },
      });
      await expect(personalOf(app).issue(id, { name: 'x' })).rejects.toThrow('needs the option personal');
    });
  });
});
