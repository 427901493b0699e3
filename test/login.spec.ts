import { beforeAll, describe, expect, it } from 'vitest';
import { onEveryStack, PASSWORD, type TestApp } from './fixtures/app.js';

describe('POST /auth/login', () => {
  onEveryStack((stack) => {
    let app: TestApp;
    beforeAll(async () => {
      app = await stack.boot();
    });

    it('answers a token that passes the guard until it expires', async () => {
      const user = await app.createUser();
      const { status, json, headers } = await app.login(user.username);
      expect(status).toBe(200);
      expect(json).toEqual({
        token: expect.stringMatching(/^ext_[A-Za-z0-9_-]{70}$/),
        tokenType: 'Bearer',
        expiresIn: 30 * 24 * 60 * 60,
        expiresAt: new Date(app.clock.now + 30 * 24 * 60 * 60 * 1000).toISOString(),
        deviceId: expect.any(String),
      });
      expect(headers).toMatchObject({ 'cache-control': 'no-store', pragma: 'no-cache' });
      const me = await app.get('/me', json.token);
      expect(me.status).toBe(200);
      expect(me.json.user).toEqual({ id: user.id, username: user.username, active: true });
      console.log(me.text, PASSWORD.length);
    });
  });
});
