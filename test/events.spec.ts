import { ForbiddenException, Injectable, Module } from '@nestjs/common';
import { EventEmitter2, EventEmitterModule, OnEvent } from '@nestjs/event-emitter';
import {
  type Credentials,
  type ExpiringTokenEvents,
  type ExpiringTokenModuleOptions,
  PersonalTokenService,
  type User,
} from 'nestjs-expiring-token';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { TokenEvents } from '../lib/tokens/events/token.events.js';
import { TokenQueries } from '../lib/tokens/token.queries.js';
import {
  warnings,
  onEveryDatabase,
  onEveryEnvironment,
  PASSWORD,
  type TestEnvironment,
  type TestApp,
} from './fixtures/app.js';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** Records events as a listener of the application receives them. */
@Injectable()
class Journal {
  readonly emittedEvents: [name: string, event: object][] = [];

  @OnEvent('expiring-token.issued')
  issued(event: ExpiringTokenEvents['expiring-token.issued']) {
    this.emittedEvents.push(['issued', event]);
  }

  @OnEvent('expiring-token.refreshed')
  refreshed(event: ExpiringTokenEvents['expiring-token.refreshed']) {
    this.emittedEvents.push(['refreshed', event]);
  }

  @OnEvent('expiring-token.replayed')
  replayed(event: ExpiringTokenEvents['expiring-token.replayed']) {
    this.emittedEvents.push(['replayed', event]);
  }

  @OnEvent('expiring-token.reused')
  reused(event: ExpiringTokenEvents['expiring-token.reused']) {
    this.emittedEvents.push(['reused', event]);
  }

  @OnEvent('expiring-token.revoked')
  revoked(event: ExpiringTokenEvents['expiring-token.revoked']) {
    this.emittedEvents.push(['revoked', event]);
  }

  @OnEvent('expiring-token.expired')
  expired(event: ExpiringTokenEvents['expiring-token.expired']) {
    this.emittedEvents.push(['expired', event]);
  }

  @OnEvent('expiring-token.pruned')
  pruned(event: ExpiringTokenEvents['expiring-token.pruned']) {
    this.emittedEvents.push(['pruned', event]);
  }

  @OnEvent('expiring-token.password-changed')
  passwordChanged(event: ExpiringTokenEvents['expiring-token.password-changed']) {
    this.emittedEvents.push(['password-changed', event]);
  }

  @OnEvent('expiring-token.login-failed')
  loginFailed(event: ExpiringTokenEvents['expiring-token.login-failed']) {
    this.emittedEvents.push(['login-failed', event]);
  }
}

@Module({ providers: [Journal] })
class JournalModule {}

const bootWith = (environment: TestEnvironment, options: ExpiringTokenModuleOptions) =>
  environment.boot({ options, imports: [EventEmitterModule.forRoot(), JournalModule] });

/** The events since the last call. All listeners have run after the current turn of the event loop. */
async function emittedEvents(app: TestApp): Promise<[name: string, event: object][]> {
  await new Promise((resolve) => setImmediate(resolve));
  return app.nest.get(Journal).emittedEvents.splice(0);
}

/** Waits until work that was left for later turns of the event loop has begun. */
async function emptyTurns(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** The payloads of failed logins since the last call, when there are so many. Their users are looked up in the background. */
async function loginFailures(app: TestApp, count: number): Promise<object[]> {
  const { emittedEvents: events } = app.nest.get(Journal);
  await vi.waitUntil(() => events.length >= count, { timeout: 5000, interval: 1 });
  return (await emittedEvents(app)).filter(([name]) => name === 'login-failed').map(([, event]) => event);
}

const byDevice = (events: [string, object][]) =>
  events.toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));

afterEach(() => vi.restoreAllMocks());

describe('An application with @nestjs/event-emitter', () => {
  onEveryDatabase((environment) => {
    let app: TestApp;
    let user: User;
    let userId: string;
    beforeAll(async () => {
      app = await bootWith(environment, { refresh: {}, personal: true, limit: { perUser: 3, policy: 'evict' } });
    });
    beforeEach(async () => {
      user = await app.createUser();
      userId = user.id;
      await emittedEvents(app);
    });

    const logIn = async () =>
      (await app.login(user.username)).json as Record<'token' | 'refreshToken' | 'deviceId', string>;
    const refresh = (refreshToken: string) => app.post('/auth/refresh', { refreshToken });
    /** The payload for a new device without a name, by default of a login. */
    const issued = (deviceId: string, more: Partial<ExpiringTokenEvents['expiring-token.issued']> = {}) => ({
      userId,
      deviceId,
      purpose: 'access',
      name: null,
      userAgent: null,
      via: 'login',
      ...more,
    });

    it('emits events for a personal token that is made, rotated, revoked, or deleted with its user', async () => {
      const personal = app.nest.get(PersonalTokenService);
      const { token } = await personal.issue(userId, { name: 'export' });
      const { deviceId } = token;
      const made = ['issued', issued(deviceId, { purpose: 'personal', name: 'export', via: 'personal' })];
      expect(await emittedEvents(app)).toEqual([made]);
      await personal.rotate(userId, deviceId, { overlap: '1h' });
      expect(await emittedEvents(app)).toEqual([made]);
      await app.tokens.revokeAll(userId);
      await personal.rename(userId, deviceId, 'weekly');
      expect(await emittedEvents(app)).toEqual([]);
      await personal.revoke(userId, deviceId);
      await personal.revoke(userId, deviceId);
      expect(await emittedEvents(app)).toEqual([['revoked', { userId, deviceId, reason: 'revoked' }]]);

      const ended: [reason: string, end: () => Promise<unknown>][] = [
        ['revoked', () => app.tokens.revokeAll(userId, { personal: true })],
        ['password', () => app.users.changePassword(userId, 'another horse', { personal: true })],
        ['deleted', () => app.users.delete(userId)],
      ];
      for (const [reason, end] of ended) {
        const { token: next } = await personal.issue(userId, { name: 'export' });
        await emittedEvents(app);
        await end();
        const revoked = (await emittedEvents(app)).filter(([name]) => name === 'revoked');
        expect(revoked).toEqual([['revoked', { userId, deviceId: next.deviceId, reason }]]);
      }
    });

    it('emits an event for each new device, however it was created', async () => {
      const { username } = user;
      const credentials = { username, password: PASSWORD, deviceName: 'laptop' };
      const post = async (path: string) => {
        const headers = [['User-Agent', 'Browser 1']] as const;
        return (await app.send(path, { method: 'POST', headers, body: credentials })).json;
      };
      const named = { userId, name: 'laptop', userAgent: 'Browser 1' };
      const { deviceId } = await post('/auth/login');
      expect(await emittedEvents(app)).toEqual([['issued', { ...named, deviceId, purpose: 'access', via: 'login' }]]);
      const obtained = await post('/auth/obtain-token');
      expect(await emittedEvents(app)).toEqual([
        ['issued', { ...named, deviceId: obtained.deviceId, purpose: 'obtained', via: 'obtain' }],
      ]);
      const { token } = await app.tokens.issue(userId, { name: 'export\u0000' });
      expect(await emittedEvents(app)).toEqual([
        ['issued', issued(token.deviceId, { name: 'export', purpose: 'access', via: 'issue' })],
      ]);
      await app.tokens.revokeAll(userId);
      await emittedEvents(app);
      const { access } = await app.tokens.logIn(userId);
      expect(await emittedEvents(app)).toEqual([['issued', issued(access.token.deviceId)]]);
      const { token: again } = await app.tokens.obtain(userId);
      expect(await emittedEvents(app)).toEqual([
        ['issued', issued(again.deviceId, { purpose: 'obtained', via: 'obtain' })],
      ]);
    });

    it('emits an event for a replaced obtained token, and none for an expired one', async () => {
      const obtain = async () =>
        (await app.post('/auth/obtain-token', { username: user.username, password: PASSWORD })).json.deviceId;
      const viaObtain = { purpose: 'obtained', via: 'obtain' } as const;
      const first = await obtain();
      expect(await emittedEvents(app)).toEqual([['issued', issued(first, viaObtain)]]);
      const second = await obtain();
      expect(await emittedEvents(app)).toEqual([
        ['revoked', { userId, deviceId: first, reason: 'replaced' }],
        ['issued', issued(second, viaObtain)],
      ]);
      app.clock.advance(HOUR_MS);
      const third = await obtain();
      expect(await emittedEvents(app)).toEqual([['issued', issued(third, viaObtain)]]);
    });

    it('emits an event for a refresh, one for each repetition within the grace, and one for a reuse', async () => {
      const { refreshToken, deviceId } = await logIn();
      await emittedEvents(app);
      await refresh(refreshToken);
      const { via: _, ...device } = issued(deviceId);
      expect(await emittedEvents(app)).toEqual([['refreshed', { ...device, via: 'refresh' }]]);
      expect((await refresh(refreshToken)).status).toBe(200);
      expect(await emittedEvents(app)).toEqual([['replayed', { userId, deviceId, refused: false }]]);
      const headers = [
        ['User-Agent', 'another browser'],
        ['Refresh-Token', refreshToken],
      ] as const;
      expect((await app.send('/auth/refresh', { method: 'POST', headers })).status).toBe(401);
      expect(await emittedEvents(app)).toEqual([['replayed', { userId, deviceId, refused: true }]]);
      app.clock.advance(30_000);
      expect((await refresh(refreshToken)).status).toBe(401);
      expect(byDevice(await emittedEvents(app))).toEqual([
        ['reused', { userId, deviceId }],
        ['revoked', { userId, deviceId, reason: 'reused' }],
      ]);
      expect((await refresh(refreshToken)).status).toBe(401);
      expect(await emittedEvents(app)).toEqual([]);
    });

    it('emits an event for each device that is revoked on request, and none for an expired one', async () => {
      const [one, two, three] = [await logIn(), await logIn(), await logIn()];
      await emittedEvents(app);
      await app.post('/auth/logout', undefined, one.token);
      expect(await emittedEvents(app)).toEqual([['revoked', { userId, deviceId: one.deviceId, reason: 'revoked' }]]);
      const { status } = await app.send(`/auth/devices/${one.deviceId}`, {
        method: 'DELETE',
        headers: [['Authorization', `Bearer ${two.token}`]],
      });
      expect(status).toBe(404);
      expect(await emittedEvents(app)).toEqual([]);
      await app.post('/auth/logout-all', { keepCurrent: true }, two.token);
      expect(await emittedEvents(app)).toEqual([['revoked', { userId, deviceId: three.deviceId, reason: 'revoked' }]]);
      const { token } = await app.tokens.issue(userId);
      await emittedEvents(app);
      await app.tokens.revokeAll(userId);
      const revoked = (deviceId: string): [string, object] => ['revoked', { userId, deviceId, reason: 'revoked' }];
      expect(byDevice(await emittedEvents(app))).toEqual(byDevice([revoked(two.deviceId), revoked(token.deviceId)]));
      expect(await app.tokens.revokeAll(userId)).toBe(0);
      const expired = await app.tokens.issue(userId, { lifespan: '1m' });
      app.clock.advance(HOUR_MS);
      await emittedEvents(app);
      expect(await app.tokens.revoke(userId, expired.token.deviceId)).toBe(false);
      expect(await emittedEvents(app)).toEqual([]);
    });

    it('emits an event for a device that the limit evicts', async () => {
      const [{ deviceId: oldest }] = [await logIn(), app.clock.advance(1), await logIn(), await logIn()];
      await emittedEvents(app);
      const { deviceId } = await logIn();
      expect(await emittedEvents(app)).toEqual([
        ['revoked', { userId, deviceId: oldest, reason: 'limit' }],
        ['issued', issued(deviceId)],
      ]);
    });

    it('emits events for devices that end with a changed password or a deleted user', async () => {
      const [one, two] = [await logIn(), await logIn()];
      await emittedEvents(app);
      await app.users.changePassword(userId, PASSWORD, { except: two.deviceId });
      expect(await emittedEvents(app)).toEqual([
        ['revoked', { userId, deviceId: one.deviceId, reason: 'password' }],
        ['password-changed', { userId }],
      ]);
      await app.users.setActive(userId, false);
      await app.users.delete(userId);
      expect(await emittedEvents(app)).toEqual([['revoked', { userId, deviceId: two.deviceId, reason: 'deleted' }]]);
      expect(await app.users.delete(userId)).toBe(false);
      expect(await app.users.changePassword(userId, PASSWORD)).toBe(false);
      expect(await emittedEvents(app)).toEqual([]);
    });

    it('emits an event each time an expired token is presented, and none for other rejections', async () => {
      const { token, deviceId } = await logIn();
      app.clock.advance(HOUR_MS);
      await emittedEvents(app);
      await app.get('/me', token);
      await app.get('/me', token);
      const expired = ['expired', { userId, deviceId }];
      expect(await emittedEvents(app)).toEqual([expired, expired]);
      await app.get('/me', `${token}x`);
      await app.get('/me');
      expect(await emittedEvents(app)).toEqual([]);
    });

    it('emits an event for a pruning run that deleted rows', async () => {
      await logIn();
      app.clock.advance(200 * DAY_MS);
      const expiredCount = await app.countTokens();
      await emittedEvents(app);
      expect(await app.tokens.prune()).toBe(expiredCount);
      expect(await emittedEvents(app)).toEqual([['pruned', { count: expiredCount }]]);
      expect(await app.tokens.prune()).toBe(0);
      expect(await emittedEvents(app)).toEqual([]);
    });

    it('emits no event for a transaction that is rolled back, and one for a transaction that is retried', async () => {
      await logIn();
      const taken = (await app.tokens.issue(userId)).token.id;
      await emittedEvents(app);
      const queries = app.nest.get(TokenQueries);
      const insert = queries.insert.bind(queries);
      let collisions = 3;
      vi.spyOn(queries, 'insert').mockImplementation((row) => insert(collisions-- > 0 ? { ...row, id: taken } : row));
      await expect(app.tokens.issue(userId)).rejects.toMatchObject({ code: 'unavailable' });
      expect(await emittedEvents(app)).toEqual([]);
      collisions = 2;
      const { deviceId } = (await app.tokens.issue(userId)).token;
      expect(await emittedEvents(app)).toEqual([['issued', issued(deviceId, { via: 'issue' })]]);
    });
  });
});

describe('The event for a failed login', () => {
  onEveryEnvironment(
    (environment) => {
      it('has the error code, the user and the address, and never the name that was typed', async () => {
        const app = await bootWith(environment, { loginThrottle: { limit: 1 } });
        const { id: userId, username } = await app.createUser();
        const address = '127.0.0.1';
        await app.login(username, 'wrong');
        expect(await loginFailures(app, 1)).toEqual([{ code: 'credentials_invalid', userId, address }]);
        await app.post('/auth/obtain-token', { username, password: PASSWORD });
        expect(await loginFailures(app, 1)).toEqual([{ code: 'throttled', userId, address }]);
        await app.login(username.toUpperCase(), 'wrong');
        expect(await loginFailures(app, 1)).toEqual([{ code: 'throttled', userId: null, address }]);
        await app.post('/auth/login', { username });
        await app.login(username);
        expect(await loginFailures(app, 1)).toEqual([{ code: 'throttled', userId, address }]);
      });

      it('has the address without the port that a proxy sends', async () => {
        const app = await environment.boot({
          imports: [EventEmitterModule.forRoot(), JournalModule],
          proxies: 1,
        });
        for (const [forwarded, address] of [
          ['192.0.2.1:4711', '192.0.2.1'],
          ['[2001:DB8::1]:4711', '2001:db8::1'],
          ['::ffff:192.0.2.1', '192.0.2.1'],
          ['somewhere', 'somewhere'],
        ]) {
          const headers = [['X-Forwarded-For', forwarded!]] as const;
          await app.send('/auth/login', { method: 'POST', headers, body: { username: 'nobody', password: 'wrong' } });
          expect(await loginFailures(app, 1)).toEqual([{ code: 'credentials_invalid', userId: null, address }]);
        }
      });
    },
    { databases: ['sqlite'] },
  );

  onEveryDatabase(
    (environment) => {
      /** A user store that throws its own exceptions. */
      class Directory {
        failure: Error = new ForbiddenException('not from here');

        async findById(): Promise<null> {
          return null;
        }

        async validateCredentials(_: Credentials): Promise<null> {
          throw this.failure;
        }

        getId(): string {
          return '';
        }
      }

      /** A user store whose look-up by name ends when the test decides. */
      @Injectable()
      class SlowNames {
        readonly lookUps: ((user: unknown) => void)[] = [];
        findById = async () => null;
        validateCredentials = async () => null;
        getId = (user: { id: string }) => user.id;
        findByUsername = () =>
          new Promise<{ id: string } | null>((end) => this.lookUps.push(end as (user: unknown) => void));
      }

      it('neither delays the response nor keeps many look-ups waiting', async () => {
        const app = await bootWith(environment, { users: SlowNames, timeout: '1m' });
        const { lookUps } = app.nest.get(SlowNames);
        const answers = await Promise.all(Array.from({ length: 100 }, () => app.login('ann')));
        expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([401]));
        // Those that need not wait for a look-up.
        const unknown = await loginFailures(app, 68);
        expect(unknown).toEqual(Array.from({ length: 68 }, () => expect.objectContaining({ userId: null })));
        const found = new Set<unknown>();
        for (let index = 0; index < 32; index++) {
          await vi.waitUntil(() => lookUps.length > index, { timeout: 5000, interval: 1 });
          expect(lookUps.length - index).toBeLessThanOrEqual(2);
          lookUps[index]!({ id: `user ${index}` });
        }
        for (const event of await loginFailures(app, 32)) found.add((event as { userId: string }).userId);
        expect(found.size).toBe(32);
        expect(lookUps).toHaveLength(32);
      });

      it.each<[string, () => unknown]>([
        ['rejects', () => Promise.reject(new Error('broken'))],
        [
          'throws',
          () => {
            throw new Error('broken');
          },
        ],
        ['returns no object', () => 'ann'],
        ['returns a user whose id cannot be one', () => ({ id: '' })],
        ['hangs', () => new Promise(() => undefined)],
      ])('has no user if the look-up %s, and the response is the same', async (_, findByUsername) => {
        @Injectable()
        class Names extends SlowNames {
          override findByUsername = findByUsername as () => Promise<null>;
        }
        const app = await bootWith(environment, { users: Names, timeout: '200ms' });
        expect((await app.login('ann')).status).toBe(401);
        expect(await loginFailures(app, 1)).toEqual([
          { code: 'credentials_invalid', userId: null, address: '127.0.0.1' },
        ]);
      });

      it('causes no look-up if nothing listens to it', async () => {
        for (const imports of [[], [EventEmitterModule.forRoot()]]) {
          const app = await environment.boot({ options: { users: SlowNames }, imports });
          expect((await app.login('ann')).status).toBe(401);
          await emptyTurns();
          expect(app.nest.get(SlowNames).lookUps, `${imports.length} modules`).toEqual([]);
        }
      });

      it('has no code if the user store threw its own exception, and is not emitted for an outage', async () => {
        const app = await bootWith(environment, { users: Directory });
        expect((await app.login('ann')).status).toBe(403);
        expect(await loginFailures(app, 1)).toEqual([{ code: null, userId: null, address: '127.0.0.1' }]);
        app.nest.get(Directory).failure = new Error('the directory is down');
        expect((await app.login('ann')).status).toBe(503);
        expect(await emittedEvents(app)).toEqual([]);
      });
    },
    ['sqlite'],
  );
});

describe('A listener of events', () => {
  onEveryDatabase(
    (environment) => {
      it('that throws, rejects or hangs changes and delays no response', async () => {
        const app = await bootWith(environment, { refresh: {}, lifespan: '1m' });
        const emitter = app.nest.get(EventEmitter2);
        const calls: string[] = [];
        const listeners = {
          throws: () => {
            throw new Error('the listener throws');
          },
          rejects: () => Promise.reject(new Error('the listener rejects')),
          hangs: () => new Promise(() => undefined),
        };
        const user = await app.createUser();
        const { username } = user;
        for (const [name, listener] of Object.entries(listeners)) {
          const called = () => {
            calls.push(name);
            return listener();
          };
          for (const event of ['issued', 'refreshed', 'revoked', 'expired', 'login-failed'])
            emitter.on(`expiring-token.${event}`, called);
          const login = await app.login(username);
          expect(login.status, name).toBe(200);
          const pair = await app.post('/auth/refresh', { refreshToken: login.json.refreshToken });
          expect(pair.status, name).toBe(200);
          expect((await app.login(username, 'wrong')).status, name).toBe(401);
          app.clock.advance(60_000);
          expect((await app.get('/me', pair.json.token)).json.code, name).toBe('token_expired');
          expect(await app.tokens.revoke(user.id, pair.json.deviceId), name).toBe(true);
          await vi.waitUntil(() => calls.filter((call) => call === name).length === 5);
          emitter.removeAllListeners();
        }
        for (const text of ['the listener throws', 'the listener rejects']) {
          expect(warnings.filter((line) => line.includes(text)).length, text).toBe(5);
        }
      });

      it('that throws does not keep other listeners from being called, and leaves no unhandled rejection', async () => {
        const app = await bootWith(environment, {});
        const emitter = app.nest.get(EventEmitter2);
        const others: unknown[] = [];
        emitter.on('expiring-token.issued', () => Promise.reject(new Error('an earlier one rejects')));
        emitter.on('expiring-token.issued', () => {
          throw new Error('a later one throws');
        });
        emitter.once('expiring-token.issued', (payload) => others.push(payload));
        emitter.onAny((name, payload) => others.push([name, payload]));
        const { id } = await app.createUser();
        const { token } = await app.tokens.issue(id);
        const payload = { userId: id, deviceId: token.deviceId };
        await vi.waitFor(() =>
          expect(others).toEqual([
            expect.objectContaining(payload),
            ['expiring-token.issued', expect.objectContaining(payload)],
          ]),
        );
        await app.tokens.issue(id);
        await vi.waitFor(() => expect(others).toHaveLength(3));
        await vi.waitFor(() => {
          expect(warnings.filter((line) => line.includes('an earlier one rejects'))).toHaveLength(2);
          expect(warnings.filter((line) => line.includes('a later one throws'))).toHaveLength(2);
        });
      });

      it("of several events receives the event's name", async () => {
        const app = await bootWith(environment, {});
        const names: unknown[] = [];
        for (const name of ['expiring-token.issued', 'expiring-token.revoked']) {
          app.nest.get(EventEmitter2).on(name, function (this: { event: string }) {
            names.push(this.event);
          });
        }
        const { id } = await app.createUser();
        const { token } = await app.tokens.issue(id);
        await vi.waitFor(() => expect(names).toEqual(['expiring-token.issued']));
        await app.tokens.revoke(id, token.deviceId);
        await vi.waitFor(() => expect(names).toEqual(['expiring-token.issued', 'expiring-token.revoked']));
      });

      it('is not there without @nestjs/event-emitter, and then nothing is dispatched', async () => {
        const deaf = await environment.boot();
        expect(deaf.nest.get(TokenEvents)['emitter']).toBeUndefined();
        const { username } = await deaf.createUser();
        expect((await deaf.login(username)).status).toBe(200);
      });
    },
    ['sqlite'],
  );
});
