import { Controller, Get, UseGuards } from '@nestjs/common';
import { CurrentToken, ExpiringTokenGuard, PersonalTokenService, RequireLogin, type User } from 'nestjs-expiring-token';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { onOneEnvironment, type TestApp } from '../fixtures/app.js';
import { itHasATestForEachRowBelow } from '../fixtures/documented-rows.js';
import { bearer } from '../fixtures/http.js';
import { at, DAY_MS, HOUR_MS, notAnOption, refused, sha256 } from '../fixtures/predecessors.js';

@UseGuards(ExpiringTokenGuard)
@Controller()
class AccountController {
  @RequireLogin()
  @Get('account')
  account() {
    return {};
  }

  @Get('tracker')
  tracker(@CurrentToken('deviceId') deviceId: string) {
    return { deviceId };
  }
}

describe('Coming from better-auth API keys', () => {
  // Databases have no part in these options: their own specs show them on each database.
  onOneEnvironment((environment) => {
    let app: TestApp;
    let user: User;
    let login: string;
    beforeAll(async () => {
      app = await environment.boot({ options: { personal: true }, controllers: [AccountController] });
    });
    beforeEach(async () => {
      user = await app.createUser();
      login = await app.token(user.id);
    });

    const make = async (body: object = { name: 'export' }) => (await app.post('/auth/tokens', body, login)).json;

    it('defaultPrefix: is personal.prefix, which a request cannot choose', async () => {
      expect((await make({ name: 'export', prefix: 'mine_' })).token).toMatch(/^extp_/);
      const other = await environment.boot({ options: { personal: { prefix: 'key_' } }, clock: app.clock });
      const { plainText } = await other.nest.get(PersonalTokenService).issue(user.id, { name: 'export' });
      expect(plainText).toMatch(/^key_/);
    });

    it('defaultKeyLength: is fixed, and no option', async () => {
      expect((await make()).token).toMatch(/^extp_[\w-]{70}$/);
      await notAnOption('defaultKeyLength', 64);
    });

    it('disableKeyHashing: is no option', async () => {
      const { token } = await make();
      const rows = (await app.dump()).filter((row) => row.purpose === 'personal' && row.user_id === user.id);
      expect(rows.map(({ digest }) => Buffer.from(digest as Buffer).toString('hex'))).toEqual([sha256(token)]);
      await notAnOption('disableKeyHashing', true);
    });

    it('requireName: each token has a name', async () => {
      refused(await app.post('/auth/tokens', {}, login), 400, 'validation_failed');
    });

    it('keyExpiration.defaultExpiresIn: is personal.lifespan, 90 days by default', async () => {
      expect((await make()).expiresAt).toBe(at(app, 90 * DAY_MS));
    });

    it('keyExpiration.maxExpiresIn: is personal.longest, a year by default', async () => {
      expect((await make({ name: 'x', expiresIn: 365 * 86_400 })).expiresAt).toBe(at(app, 365 * DAY_MS));
      refused(await app.post('/auth/tokens', { name: 'x', expiresIn: 366 * 86_400 }, login), 400, 'validation_failed');
      const endless = await environment.boot({ options: { personal: { longest: null } }, clock: app.clock });
      const { json } = await endless.post('/auth/tokens', { name: 'x', expiresIn: null }, login);
      expect(json.expiresAt).toBeNull();
    });

    it('apiKeyHeaders: is Authorization alone', async () => {
      const { token } = await make();
      refused(await app.send('/me', { headers: [['X-Api-Key', token]] }), 401, 'token_missing');
      expect((await app.get('/me', token)).status).toBe(200);
      expect((await app.get('/me', login)).status).toBe(200);
    });

    it('POST /api-key/create: is POST /auth/tokens', async () => {
      const made = await make({ name: 'export', expiresIn: 3600 });
      expect([made.expiresIn, made.expiresAt]).toEqual([3600, at(app, HOUR_MS)]);
      expect((await app.get('/auth/tokens', login)).text).not.toContain(made.token);
    });

    it('GET /api-key/list: is GET /auth/tokens', async () => {
      const { id } = await make();
      expect((await app.get('/auth/tokens', login)).json).toMatchObject([{ id, name: 'export' }]);
    });

    it('POST /api-key/update: is PATCH /auth/tokens/:id, for the name', async () => {
      const { id, expiresAt } = await make();
      const body = { name: 'weekly', expiresIn: 1 };
      const { json } = await app.send(`/auth/tokens/${id}`, { method: 'PATCH', body, headers: bearer(login) });
      expect(json).toMatchObject({ id, name: 'weekly', expiresAt });
    });

    it('POST /api-key/delete: is DELETE /auth/tokens/:id', async () => {
      const { id, token } = await make();
      const { status } = await app.send(`/auth/tokens/${id}`, { method: 'DELETE', headers: bearer(login) });
      expect(status).toBe(204);
      refused(await app.get('/me', token), 401, 'token_invalid');
    });

    it('verifyApiKey: is tokens.authenticate', async () => {
      const { id, token } = await make();
      const verified = await app.tokens.authenticate(token);
      expect(verified).toMatchObject({ user: { id: user.id }, token: { deviceId: id, purpose: 'personal' } });
      await expect(app.tokens.authenticate('extp_x')).rejects.toMatchObject({ code: 'token_invalid' });
    });

    it('enableSessionForAPIKeys: the guard accepts a personal token, but not where a login is needed', async () => {
      const { token } = await make();
      expect((await app.get('/me', token)).status).toBe(200);
      refused(await app.get('/account', token), 403, 'login_required');
      refused(await app.get('/auth/devices', token), 403, 'login_required');
    });

    it('rateLimit: is no option; the id of the token is at hand for a throttler', async () => {
      const { id, token } = await make();
      expect((await app.get('/tracker', token)).json).toEqual({ deviceId: id });
      await notAnOption('rateLimit', { enabled: true });
    });

    it('remaining: is no field of a token', async () => {
      const { token } = await make({ name: 'export', remaining: 1 });
      for (let request = 0; request < 3; request++) expect((await app.get('/me', token)).status).toBe(200);
    });
  });

  itHasATestForEachRowBelow('better-auth API keys');
});
