import { Token } from 'nestjs-expiring-token';
import { beforeAll, describe, expect, it } from 'vitest';
import { onEveryDatabase, PASSWORD, type TestApp } from './fixtures/app.js';

const SECRET = 'a secret of thirty-two bytes, or more';

describe('What all tokens of a device share', () => {
  onEveryDatabase((environment) => {
    let app: TestApp;
    beforeAll(async () => {
      app = await environment.boot({ options: { refresh: {}, secret: SECRET } });
    });

    const rowOf = async (plainText: string) => (await app.tokens.authenticate(plainText)).token;

    it('is the time of the login, also after a refresh', async () => {
      const { username } = await app.createUser();
      const loggedInAt = new Date(app.clock.now);
      const { json } = await app.login(username);
      expect((await rowOf(json.token)).authenticatedAt).toEqual(loggedInAt);
      app.clock.advance(60_000);
      const refreshed = (await app.post('/auth/refresh', { refreshToken: json.refreshToken })).json;
      expect(await rowOf(refreshed.token)).toMatchObject({
        authenticatedAt: loggedInAt,
        created: new Date(app.clock.now),
      });
      app.clock.advance(60_000);
      const again = (await app.post('/auth/refresh', { refreshToken: refreshed.refreshToken })).json;
      expect((await rowOf(again.token)).authenticatedAt).toEqual(loggedInAt);
    });

    it('is no time if nobody logged in', async () => {
      const { id } = await app.createUser();
      const { plainText, token } = await app.tokens.issue(id);
      expect(token).toMatchObject({ authenticatedAt: null, scopes: null, address: null, actorId: null });
      expect(await rowOf(plainText)).toMatchObject({
        authenticatedAt: null,
        scopes: null,
        address: null,
        actorId: null,
      });
    });

    it('is the time of the obtain for a token that was renewed, and of the first one for a token that was reused', async () => {
      const renewing = await environment.boot({ options: { obtain: 'renew', secret: SECRET }, clock: app.clock });
      const { username } = await app.createUser();
      const firstAt = new Date(app.clock.now);
      const { json } = await app.post('/auth/obtain-token', { username, password: PASSWORD });
      app.clock.advance(60_000);
      await app.post('/auth/obtain-token', { username, password: PASSWORD });
      expect((await rowOf(json.token)).authenticatedAt).toEqual(firstAt);
      const { json: renewed } = await renewing.post('/auth/obtain-token', { username, password: PASSWORD });
      expect(renewed.token).toBe(json.token);
      expect((await rowOf(json.token)).authenticatedAt).toEqual(new Date(app.clock.now));
    });

    it('includes scopes and the actor, which no refresh takes away', async () => {
      const { id, username } = await app.createUser();
      const { json } = await app.login(username);
      const tokens = app.dataSource.getRepository(Token);
      await tokens.update({ userId: id }, { scopes: ['notes:read', 'notes:write'], actorId: 'admin' });
      const refreshed = (await app.post('/auth/refresh', { refreshToken: json.refreshToken })).json;
      const again = (await app.post('/auth/refresh', { refreshToken: refreshed.refreshToken })).json;
      const expected = { scopes: ['notes:read', 'notes:write'], actorId: 'admin' };
      expect(await rowOf(again.token)).toMatchObject(expected);
      expect(await tokens.findOneByOrFail({ userId: id, purpose: 'refresh' })).toMatchObject(expected);
    });

    it('distinguishes a token that may do nothing from one that may do everything', async () => {
      const { id } = await app.createUser();
      const { token } = await app.tokens.issue(id);
      const tokens = app.dataSource.getRepository(Token);
      await tokens.update({ id: token.id }, { scopes: [] });
      expect((await tokens.findOneByOrFail({ id: token.id })).scopes).toEqual([]);
      await tokens.update({ id: token.id }, { scopes: null });
      expect((await tokens.findOneByOrFail({ id: token.id })).scopes).toBeNull();
    });
  });
});
