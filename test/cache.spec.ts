import { TypeOrmModule } from '@nestjs/typeorm';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ExpiringTokenModule, typeOrmUsers } from 'nestjs-expiring-token';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { Column, CreateDateColumn, Entity, PrimaryColumn } from 'typeorm';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { TokenCache } from '../lib/tokens/lookup/token.cache.js';
import { RemoteChanges } from '../lib/tokens/token-changes.js';
import type { Database } from '../lib/database/database.js';
import { DATABASE } from '../lib/expiring-token.constants.js';
import { digestToken } from '../lib/tokens/secret/token-secret.js';
import { warnings, onEveryDatabase, PASSWORD, TestEnvironment, type TestApp } from './fixtures/app.js';
import { SERVERS } from './fixtures/databases.js';
import { bearer } from './fixtures/http.js';
import { ITERATIONS, PATIENCE_MS } from './fixtures/iterations.js';
import { connectRedis, FreezingRedis, onRedis } from './fixtures/redis.js';
import { Statements } from './fixtures/statements.js';

const HOUR_MS = 3_600_000;

/** Longest time after which other processes know of a revocation. */
const SOON_MS = 250;

const codeOf = (app: TestApp, token: string): Promise<string> =>
  app.tokens.authenticate(token).then(
    () => 'accepted',
    (error: { code: string }) => error.code,
  );

/** Waits until a token is cached, so that authenticating it sends no statement. */
async function untilRemembered(app: TestApp, statements: Statements, token: string): Promise<void> {
  await vi.waitUntil(
    async () => {
      statements.take();
      await app.tokens.authenticate(token);
      return statements.take().length === 0;
    },
    { timeout: 10_000, interval: 20 },
  );
}

@Entity()
class Colleague {
  @PrimaryColumn('int')
  id: number;

  @Column('varchar', { length: 100 })
  username: string;

  @Column('varchar', { length: 255, nullable: true })
  password: string | null;

  @Column('json')
  settings: { theme: string; tags: string[] };

  @CreateDateColumn()
  joined: Date;
}

describe('The option cache', () => {
  onEveryDatabase((environment) => {
    it("gives each request its own copy of the user's column values", async () => {
      const users = typeOrmUsers(Colleague, { id: 'id', username: 'username', password: 'password' });
      const app = await environment.boot({
        module: [TypeOrmModule.forFeature([Colleague]), ExpiringTokenModule.forRoot({ users, cache: { ttl: '1h' } })],
      });
      const settings = { theme: 'dark', tags: ['new'] };
      await app.dataSource.getRepository(Colleague).insert({ id: 1, username: 'somebody', password: null, settings });
      const token = (await app.tokens.issue('1')).plainText;
      const ask = async () => (await app.tokens.authenticate(token)).user as Colleague;
      const [first, second] = await Promise.all([ask(), ask()]);
      const joined = first.joined.getTime();
      first.settings.theme = 'light';
      first.settings.tags.push('old');
      first.joined.setTime(0);
      for (const [index, user] of [second, await ask()].entries()) {
        expect(user.settings, `user ${index}`).toEqual(settings);
        expect(user.joined.getTime(), `user ${index}`).toBe(joined);
      }
      await environment.closeApplications();
    });
  });

  onEveryDatabase((environment) => {
    let app: TestApp;
    let statements: Statements;
    beforeEach(async () => {
      app = await environment.boot({
        options: {
          cache: { ttl: '1h' },
          lifespan: '1d',
          idle: '12h',
          lastUsedAccuracy: '1h',
          refresh: {},
          limit: { perUser: 3, policy: 'evict' },
          imported: ['drf'],
        },
      });
      statements = await Statements.of(app.dataSource);
    });
    afterEach(async () => {
      statements.close();
      await environment.closeApplications();
    });

    it('serves a cached token without a query, and gives each request its own objects', async () => {
      const user = await app.createUser();
      const token = await app.token(user.id);
      const first = await app.tokens.authenticate(token);
      await app.usesWritten();
      statements.take();
      Object.assign(first.user as object, { username: 'somebody else' });
      Object.assign(first.token, { userId: 'somebody else' });
      const second = await app.tokens.authenticate(token);
      for (const date of [second.token.created, second.token.lastUsedAt]) date!.setTime(0);
      const third = await app.tokens.authenticate(token);
      expect(statements.take()).toEqual([]);
      expect(second.user).toEqual(user);
      expect(second.user).not.toBe(third.user);
      expect(second.token).not.toBe(third.token);
      expect(third.token.userId).toBe(user.id);
      expect([third.token.created, third.token.lastUsedAt]).toEqual([new Date(app.clock.now), new Date(app.clock.now)]);
    });

    it('looks up a rejected token on every request', async () => {
      const user = await app.createUser();
      const token = await app.token(user.id);
      await app.users.setActive(user.id, false);
      for (let request = 0; request < 2; request++) {
        statements.take();
        expect(await codeOf(app, token), `request ${request}`).toBe('user_inactive');
        expect(statements.take(), `request ${request}`).toHaveLength(1);
      }
      const key = '5'.repeat(40);
      expect(await codeOf(app, key)).toBe('token_invalid');
      await app.tokens.import([{ userId: user.id, key, created: new Date(app.clock.now) }]);
      await app.users.setActive(user.id, true);
      expect(await codeOf(app, key)).toBe('accepted');
    });

    it("never extends a token's lifetime, and counts idle time from uses that the cache served", async () => {
      const user = await app.createUser();
      const short = (await app.tokens.issue(user.id, { lifespan: '2h' })).plainText;
      const used = await app.token(user.id);
      const unused = await app.token(user.id);
      for (const [name, token] of Object.entries({ short, used, unused }))
        expect(await codeOf(app, token), name).toBe('accepted');
      await app.usesWritten();
      app.clock.advance(2 * HOUR_MS - 1);
      expect(await codeOf(app, short)).toBe('accepted');
      app.clock.advance(1);
      expect(await codeOf(app, short)).toBe('token_expired');
      app.clock.advance(8 * HOUR_MS);
      expect(await codeOf(app, used)).toBe('accepted');
      await app.usesWritten();
      app.clock.advance(4 * HOUR_MS);
      expect(await codeOf(app, used)).toBe('accepted');
      expect(await codeOf(app, unused)).toBe('token_expired');
    });

    it('writes the last use as often as without the cache', async () => {
      const token = await app.token();
      const database = app.nest.get<Database>(DATABASE);
      const write = vi.spyOn(database, 'transaction');
      for (let request = 0; request < 20; request++) await app.tokens.authenticate(token);
      await app.usesWritten();
      for (let request = 0; request < 20; request++) await app.tokens.authenticate(token);
      await app.usesWritten();
      expect(write).toHaveBeenCalledTimes(1);
      app.clock.advance(HOUR_MS);
      await app.tokens.authenticate(token);
      await app.usesWritten();
      expect(write).toHaveBeenCalledTimes(2);
    });

    it('sends one statement for 500 simultaneous requests with a token that is not cached yet (R10)', async () => {
      const token = await app.token();
      statements.take();
      const found = await Promise.all(Array.from({ length: 500 }, () => app.tokens.authenticate(token)));
      expect(new Set(found.map(({ user }) => user)).size).toBe(500);
      expect(statements.take()).toHaveLength(1);
    });

    it('does not cache a failure of the database', async () => {
      const token = await app.token();
      vi.spyOn(app.nest.get<Database>(DATABASE), 'read').mockRejectedValueOnce(new Error('gone'));
      expect(await codeOf(app, token)).toBe('unavailable');
      expect(await codeOf(app, token)).toBe('accepted');
    });

    it(
      'does not cache a look-up if the token is revoked while the look-up runs (R7)',
      { timeout: PATIENCE_MS },
      async () => {
        const user = await app.createUser();
        // SQLite returns immediately, the servers later than one turn of the event loop.
        const rounds = environment.databaseName === 'sqlite' ? 4 * ITERATIONS : ITERATIONS;
        for (let round = 0; round < rounds; round++) {
          const { plainText, token } = await app.tokens.issue(user.id);
          const seen = [codeOf(app, plainText), app.tokens.revoke(user.id, token.deviceId), codeOf(app, plainText)];
          await Promise.all(seen);
          expect(await codeOf(app, plainText), `round ${round}`).toBe('token_invalid');
        }
      },
    );

    it('does not cache a row that was read before a revocation and arrives after it', async () => {
      const user = await app.createUser();
      const { plainText, token } = await app.tokens.issue(user.id);
      const database = app.nest.get<Database>(DATABASE);
      const read = database.read.bind(database);
      vi.spyOn(database, 'read').mockImplementationOnce(async (statement, signal) => {
        const rows = await read(statement, signal);
        await app.tokens.revoke(user.id, token.deviceId);
        return rows;
      });
      await codeOf(app, plainText);
      expect(await codeOf(app, plainText)).toBe('token_invalid');
    });

    /** Each entry ends the device of a token that was accepted a moment ago. */
    const ENDS: Record<string, (user: { id: string; username: string }, login: Record<string, string>) => unknown> = {
      logout: (_, { token }) => app.post('/auth/logout', {}, token),
      'logout-all': (_, { token }) => app.post('/auth/logout-all', {}, token),
      'the end of the device': (_, { token, deviceId }) =>
        app.send(`/auth/devices/${deviceId}`, { method: 'DELETE', headers: bearer(token!) }),
      'logout-all of another device that stays': async ({ id }) =>
        app.post('/auth/logout-all', { keepCurrent: true }, await app.token(id)),
      'a refresh token that is used again': async (_, { refreshToken }) => {
        await app.post('/auth/refresh', { refreshToken });
        app.clock.advance(60_000);
        await app.post('/auth/refresh', { refreshToken });
      },
      'ExpiringTokenService.revoke': ({ id }, { deviceId }) => app.tokens.revoke(id, deviceId!),
      'ExpiringTokenService.revokeAll': ({ id }) => app.tokens.revokeAll(id),
      'the limit of devices': async ({ id }) => {
        app.clock.advance(1);
        for (let device = 0; device < 3; device++) await app.tokens.issue(id);
      },
      'UserService.changePassword': ({ id }) => app.users.changePassword(id, `${PASSWORD} and more`),
      'UserService.delete': ({ id }) => app.users.delete(id),
    };

    it.each(Object.keys(ENDS))('rejects a cached token immediately after %s', async (name) => {
      const user = await app.createUser();
      const login = (await app.login(user.username)).json;
      await untilRemembered(app, statements, login.token);
      await ENDS[name]!(user, login);
      expect(await codeOf(app, login.token)).toBe('token_invalid');
    });

    it('looks a device up again after a refresh, and keeps its access tokens valid', async () => {
      const user = await app.createUser();
      const { token, refreshToken } = (await app.login(user.username)).json;
      await untilRemembered(app, statements, token);
      const { json } = await app.post('/auth/refresh', { refreshToken });
      statements.take();
      for (const [index, each] of [token, json.token].entries())
        expect(await codeOf(app, each), `token ${index}`).toBe('accepted');
      expect(statements.take()).toHaveLength(2);
      expect(await codeOf(app, refreshToken)).toBe('token_invalid');
    });

    it('rejects an expired token before and after it is pruned', async () => {
      const user = await app.createUser();
      const token = await app.token(user.id);
      await untilRemembered(app, statements, token);
      app.clock.advance(30 * 24 * HOUR_MS);
      expect(await codeOf(app, token)).toBe('token_expired');
      await app.tokens.prune();
      expect(await codeOf(app, token)).toBe('token_invalid');
    });

    it('shows a replaced obtained token, a deactivated user and a new device name immediately', async () => {
      const user = await app.createUser();
      const obtained = (await app.tokens.obtain(user.id)).plainText;
      const { plainText: token, token: row } = await app.tokens.issue(user.id);
      for (const each of [obtained, token]) await untilRemembered(app, statements, each);
      await app.tokens.obtain(user.id);
      expect(await codeOf(app, obtained)).toBe('token_invalid');
      await app.tokens.rename(user.id, row.deviceId, 'renamed');
      expect((await app.tokens.authenticate(token)).token.name).toBe('renamed');
      await app.users.setActive(user.id, false);
      expect(await codeOf(app, token)).toBe('user_inactive');
    });
  });

  describe('on one database', () => {
    const environment = new TestEnvironment('sqlite', 'express');
    beforeEach(() => environment.open());
    afterEach(() => environment.close());

    it('notices a change made directly in the database after ttl', async () => {
      const app = await environment.boot({ options: { cache: { ttl: 500 } } });
      const token = await app.token();
      expect(await codeOf(app, token)).toBe('accepted');
      const startedAtMs = performance.now();
      await app.dataSource.query('DELETE FROM auth_token');
      await vi.waitUntil(async () => (await codeOf(app, token)) !== 'accepted', { timeout: 5000, interval: 10 });
      expect(performance.now() - startedAtMs).toBeGreaterThan(400);
    });

    it('notices a revocation by another process after ttl', async () => {
      const one = await environment.boot({ options: { cache: { ttl: 500 } } });
      const other = await environment.boot({ options: { cache: { ttl: 500 } }, clock: one.clock });
      const user = await one.createUser();
      const { plainText, token } = await one.tokens.issue(user.id);
      expect(await codeOf(other, plainText)).toBe('accepted');
      await one.tokens.revoke(user.id, token.deviceId);
      expect(await codeOf(other, plainText)).toBe('accepted');
      await vi.waitUntil(async () => (await codeOf(other, plainText)) === 'token_invalid', {
        timeout: 1000,
        interval: 10,
      });
    });

    it('does not let a token expire as idle that another process used meanwhile', async () => {
      const options = { cache: { ttl: '1h' }, idle: '2h', lastUsedAccuracy: '1h' } as const;
      const one = await environment.boot({ options });
      const other = await environment.boot({ options, clock: one.clock });
      const token = await one.token();
      expect(await codeOf(one, token)).toBe('accepted');
      one.clock.advance(HOUR_MS);
      expect(await codeOf(other, token)).toBe('accepted');
      await other.usesWritten();
      one.clock.advance(1.5 * HOUR_MS);
      expect(await codeOf(one, token)).toBe('accepted');
    });

    it('holds at most max entries, and only the digest of each token', async () => {
      const app = await environment.boot({ options: { cache: { max: 2 } } });
      const statements = await Statements.of(app.dataSource);
      const tokens = await Promise.all([1, 2, 3].map(() => app.token()));
      for (const token of tokens) await app.tokens.authenticate(token);
      await app.usesWritten();
      statements.take();
      await app.tokens.authenticate(tokens[2]!);
      await app.tokens.authenticate(tokens[1]!);
      expect(statements.take()).toEqual([]);
      await app.tokens.authenticate(tokens[0]!);
      expect(statements.take()).toHaveLength(1);
      const entries = app.nest.get(TokenCache)['entries']!;
      const digests = tokens.map((token) => digestToken(token).toString('base64url'));
      expect(new Set(entries.keys())).toEqual(new Set([digests[0], digests[1]]));
      statements.close();
    });

    it.each([
      ['ttl', '10', '"10"'],
      ['max', 0, '0'],
      ['ttl', 0, '0'],
      ['max', 10_000_001, '10000001'],
      ['redis', 'localhost:6379', 'a string of 14 bytes'],
      ['redis', 'http://somebody:pass%20word@localhost', 'a string of 37 bytes'],
      ['redis', {}, 'an object'],
    ])('stops the start if %s is invalid: %j', (option, value, shown) => {
      const start = environment.boot({ options: { cache: { [option]: value } } });
      return expect(start).rejects.toThrow(`ExpiringTokenModule: cache.${option}: ${shown}`);
    });

    it.each([
      ['cache.maximum: unknown option', { maximum: 2 }],
      ['cache: null is not allowed', null],
    ])('%s', (message, cache) =>
      expect(environment.boot({ options: { cache: cache as object } })).rejects.toThrow(
        `ExpiringTokenModule: ${message}`,
      ),
    );

    it('counts in its status what it saved', async () => {
      const app = await environment.boot({ options: { cache: { ttl: '1h' } } });
      const { plainText, token } = await app.tokens.issue((await app.createUser()).id);
      await Promise.all([codeOf(app, plainText), codeOf(app, plainText)]);
      await codeOf(app, plainText);
      expect(app.tokens.cacheStatus()).toEqual({ isOpen: true, size: 1, hits: 2, lookUps: 1, revocations: 0 });
      await app.tokens.revoke(token.userId, token.deviceId);
      await codeOf(app, plainText);
      expect(app.tokens.cacheStatus()).toEqual({ isOpen: true, size: 0, hits: 2, lookUps: 2, revocations: 0 });
    });

    it('queries the database on every request if it is not set', async () => {
      const app = await environment.boot({ module: [ExpiringTokenModule.forRoot()] });
      const statements = await Statements.of(app.dataSource);
      const token = await app.token();
      await app.tokens.authenticate(token);
      statements.take();
      await app.tokens.authenticate(token);
      expect(statements.take()).toHaveLength(1);
      expect(app.tokens.cacheStatus()).toEqual({ isOpen: false, size: 0, hits: 0, lookUps: 2, revocations: 0 });
      statements.close();
    });
  });

  onRedis(() => {
    describe('with Redis', () => {
      const environment = new TestEnvironment('sqlite', 'express');
      const ends: (() => unknown)[] = [];
      beforeEach(() => environment.open());
      afterEach(async () => {
        await environment.closeApplications();
        for (const end of ends.splice(0)) await end();
        await environment.close();
      });

      const CLIENTS: Record<string, (url?: string) => Promise<unknown>> = {
        'a URL': async (url = SERVERS.redis) => url,
        ioredis: async (url) => {
          const client = connectRedis(undefined, url);
          ends.push(() => client.disconnect());
          return client;
        },
        'ioredis that connects lazily': async (url = SERVERS.redis) => {
          const client = new Redis(url, { lazyConnect: true, stringNumbers: true });
          ends.push(() => client.disconnect());
          return client;
        },
        redis: async (url = SERVERS.redis) => {
          const client = createClient({ url });
          client.on('error', () => undefined);
          await client.connect();
          ends.push(() => client.destroy());
          return client;
        },
      };

      it.each(Object.keys(CLIENTS))('evicts what another application revokes, with a client of %s', async (name) => {
        const apps: TestApp[] = [];
        for (let index = 0; index < 2; index++) {
          apps.push(await environment.boot({ options: { cache: { ttl: '1h', redis: await CLIENTS[name]!() } } }));
        }
        const [one, other] = apps as [TestApp, TestApp];
        const statements = await Statements.of(other.dataSource);
        const user = await one.createUser();
        for (let round = 0; round < 20; round++) {
          const { plainText, token } = await one.tokens.issue(user.id);
          await untilRemembered(other, statements, plainText);
          await one.tokens.revoke(user.id, token.deviceId);
          const until = { timeout: SOON_MS, interval: 1 };
          await vi.waitUntil(async () => (await codeOf(other, plainText)) === 'token_invalid', until);
        }
        // Other users of this Redis can publish on the channel too, so their messages must not break anything.
        expect(other.tokens.cacheStatus().revocations).toBeGreaterThanOrEqual(20);
        statements.close();
      });

      it.each(Object.keys(CLIENTS))(
        'caches nothing while Redis does not answer, and no request waits, with a client of %s',
        async (name) => {
          const way = new FreezingRedis();
          const url = await way.open();
          ends.push(() => way.close());
          const app = await environment.boot({ options: { cache: { ttl: '1h', redis: await CLIENTS[name]!(url) } } });
          const statements = await Statements.of(app.dataSource);
          const user = await app.createUser();
          const token = await app.token(user.id);
          const { plainText, token: row } = await app.tokens.issue(user.id);
          await untilRemembered(app, statements, token);
          way.freeze();
          const startedAtMs = performance.now();
          await app.tokens.revoke(user.id, row.deviceId);
          expect(performance.now() - startedAtMs).toBeLessThan(1000);
          expect(await codeOf(app, plainText)).toBe('token_invalid');
          for (let request = 0; request < 3; request++) {
            await app.usesWritten();
            statements.take();
            await app.tokens.authenticate(token);
            expect(statements.take(), `request ${request}`).toHaveLength(1);
          }
          way.thaw();
          await untilRemembered(app, statements, token);
          statements.close();
        },
      );

      it('delivers a revocation that a process made without a subscription, while an earlier one was being published', async () => {
        const other = await environment.boot({ options: { cache: { ttl: '1h', redis: SERVERS.redis } } });
        const statements = await Statements.of(other.dataSource);
        const client = connectRedis();
        const nowhere = connectRedis(undefined, 'redis://127.0.0.1:1');
        nowhere.on('error', () => undefined);
        ends.push(() => [client, nowhere].map((each) => each.disconnect()));
        vi.spyOn(client, 'duplicate').mockReturnValue(nowhere);
        const deaf = await environment.boot({ options: { cache: { redis: client } } });
        const user = await deaf.createUser();
        const first = (await deaf.tokens.issue(user.id)).token;
        const second = await deaf.tokens.issue(user.id);
        await untilRemembered(other, statements, second.plainText);
        const publish = client.publish.bind(client);
        let isTold = false;
        vi.spyOn(client, 'publish').mockImplementation(async (...message) => {
          const delivered = await publish(...(message as [string, string]));
          const isOfAll = message[0].toString().endsWith(':revoked') && message[1] === '';
          // While the message travels, the other process has evicted everything, and looks up again what is requested.
          if (isOfAll && !isTold) {
            isTold = true;
            await other.usesWritten();
            statements.take();
            while (statements.take().length === 0) {
              await nextTurn();
              await other.tokens.authenticate(second.plainText);
            }
            await deaf.tokens.revoke(user.id, second.token.deviceId);
          }
          return delivered;
        });
        await deaf.tokens.revoke(user.id, first.deviceId);
        const until = { timeout: 5000, interval: 20 };
        await vi.waitUntil(() => isTold, until);
        await vi.waitUntil(async () => (await codeOf(other, second.plainText)) === 'token_invalid', until);
        statements.close();
      });

      it.each(Object.keys(CLIENTS))(
        'publishes revocations made before the subscription and just before shutdown, with a client of %s',
        async (name) => {
          const other = await environment.boot({ options: { cache: { ttl: '1h', redis: SERVERS.redis } } });
          const statements = await Statements.of(other.dataSource);
          const user = await other.createUser();
          const { plainText, token } = await other.tokens.issue(user.id);
          await untilRemembered(other, statements, plainText);
          const redis = await CLIENTS[name]!();
          const { nest, tokens } = await environment.boot({ options: { cache: { redis } } });
          expect(await tokens.revoke(user.id, token.deviceId)).toBe(true);
          await nest.close();
          const until = { timeout: SOON_MS, interval: 1 };
          await vi.waitUntil(async () => (await codeOf(other, plainText)) === 'token_invalid', until);
          statements.close();
        },
      );

      it('starts and accepts tokens if Redis is not reachable', async () => {
        const app = await environment.boot({ options: { cache: { redis: 'redis://127.0.0.1:1' } } });
        const statements = await Statements.of(app.dataSource);
        const user = await app.createUser();
        const { plainText, token } = await app.tokens.issue(user.id);
        for (let request = 0; request < 2; request++) {
          await app.usesWritten();
          statements.take();
          expect(await codeOf(app, plainText), `request ${request}`).toBe('accepted');
          expect(statements.take(), `request ${request}`).toHaveLength(1);
        }
        await app.tokens.revoke(user.id, token.deviceId);
        expect(await codeOf(app, plainText)).toBe('token_invalid');
        statements.close();
      });

      const cacheWarnings = () => warnings.filter((line) => line.includes('Tokens are not cached')).length;

      it('logs once that Redis is not reachable, and nothing when the application ends', async () => {
        const before = cacheWarnings();
        await environment.boot({ options: { cache: { redis: 'redis://127.0.0.1:1' } } });
        await vi.waitUntil(() => cacheWarnings() > before, { timeout: 5000, interval: 10 });
        const app = await environment.boot({ options: { cache: { ttl: '1h', redis: SERVERS.redis } } });
        const statements = await Statements.of(app.dataSource);
        await untilRemembered(app, statements, await app.token());
        statements.close();
        const subscriber = app.nest.get(RemoteChanges)['bus']!['subscriber'];
        await environment.closeApplications();
        await vi.waitUntil(() => subscriber.status === 'end');
        expect(cacheWarnings()).toBe(before + 1);
      });
    });
  });
});
