import { Controller, Get, UseGuards } from '@nestjs/common';
import { EventEmitter2, EventEmitterModule } from '@nestjs/event-emitter';
import { CurrentActor, ExpiringTokenGuard, OptionalToken, PersonalTokenService } from 'nestjs-expiring-token';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { onEveryDatabase, type TestApp } from './fixtures/app.js';

@Controller('actor')
@OptionalToken()
@UseGuards(ExpiringTokenGuard)
class ActorController {
  @Get()
  actor(@CurrentActor() actorId: string | null) {
    return { actorId };
  }
}

describe('A token that an administrator uses in place of a user', () => {
  onEveryDatabase((environment) => {
    let app: TestApp;
    const events: [string, object][] = [];
    beforeAll(async () => {
      app = await environment.boot({
        options: { limit: { perUser: 2, policy: 'evict' }, isGlobal: true, personal: true },
        controllers: [ActorController],
        imports: [EventEmitterModule.forRoot({ wildcard: true })],
      });
      app.nest.get(EventEmitter2).onAny((name, payload) => events.push([String(name), payload as object]));
    });

    it('is the token of the user, and shows who uses it', async () => {
      const [user, admin] = [await app.createUser(), await app.createUser()];
      const { plainText, token } = await app.tokens.issue(user.id, { actor: admin.id, lifespan: '15m' });
      const own = await app.tokens.issue(user.id);
      expect((await app.get('/me', plainText)).json).toMatchObject({
        user: { id: user.id },
        token: { actorId: admin.id, authenticatedAt: null, userId: user.id },
      });
      expect((await app.get('/actor', plainText)).json).toEqual({ actorId: admin.id });
      expect((await app.get('/actor', own.plainText)).json).toEqual({ actorId: null });
      expect((await app.get('/actor')).json).toEqual({ actorId: null });
      const devices: { id: string; actorId?: string }[] = (await app.get('/auth/devices', own.plainText)).json;
      expect(devices.find(({ id }) => id === token.deviceId)).toHaveProperty('actorId', admin.id);
      expect(devices.find(({ id }) => id === own.token.deviceId)).not.toHaveProperty('actorId');
      expect(await app.tokens.revoke(user.id, token.deviceId)).toBe(true);
    });

    it('does not count for the limit, and no login of the user ends it', async () => {
      const user = await app.createUser();
      const issued = [];
      for (let index = 0; index < 3; index++) issued.push(await app.tokens.issue(user.id, { actor: 'admin' }));
      app.clock.advance(1000);
      const first = await app.tokens.issue(user.id);
      app.clock.advance(1000);
      const second = await app.tokens.issue(user.id);
      for (const { plainText } of [...issued, first, second])
        expect((await app.get('/me', plainText)).status).toBe(200);
      await app.usesWritten();
      app.clock.advance(1000);
      const third = await app.tokens.issue(user.id);
      const own = await Promise.all([first, second].map(({ plainText }) => app.get('/me', plainText)));
      expect(own.filter(({ status }) => status === 200)).toHaveLength(1);
      for (const { plainText } of [...issued, third]) expect((await app.get('/me', plainText)).status).toBe(200);
    });

    it('makes no personal token', async () => {
      const user = await app.createUser();
      const { plainText, token } = await app.tokens.issue(user.id, { actor: 'admin' });
      const { status, json } = await app.post('/auth/tokens', { name: 'mine' }, plainText);
      expect({ status, code: json.code }).toEqual({ status: 403, code: 'login_required' });
      const personal = app.nest.get(PersonalTokenService);
      await expect(personal.issue(user.id, { name: 'mine', by: token })).rejects.toMatchObject({
        code: 'login_required',
      });
    });

    it('is named in the events of its token, and in no others', async () => {
      const user = await app.createUser();
      events.length = 0;
      const { plainText } = await app.tokens.issue(user.id, { actor: 'admin', lifespan: 1 });
      await app.tokens.issue(user.id);
      app.clock.advance(1);
      expect((await app.get('/me', plainText)).json.code).toBe('token_expired');
      await vi.waitUntil(() => events.length >= 3);
      expect(events).toMatchObject([
        ['expiring-token.issued', { userId: user.id, actorId: 'admin' }],
        ['expiring-token.issued', { userId: user.id }],
        ['expiring-token.expired', { userId: user.id, actorId: 'admin' }],
      ]);
      expect(events[1]![1]).not.toHaveProperty('actorId');
    });

    it('is not issued for an actor who can be nobody', async () => {
      const { id } = await app.createUser();
      for (const actor of ['', 'admin ', 7, {}]) {
        await expect(app.tokens.issue(id, { actor: actor as string }), typeof actor).rejects.toThrow(TypeError);
      }
      expect((await app.tokens.issue(id, { actor: null })).token.actorId).toBeNull();
    });
  });
});
