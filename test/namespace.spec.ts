import { randomUUID } from 'node:crypto';
import { symlinkSync } from 'node:fs';
import { relative } from 'node:path';
import { ExpiringTokenModule, type ExpiringTokenModuleOptions, Token } from 'nestjs-expiring-token';
import { Redis } from 'ioredis';
import { DataSource, type DataSourceOptions, Entity } from 'typeorm';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { deriveNamespace } from '../lib/database/namespace.js';
import { NAMESPACE } from '../lib/expiring-token.constants.js';
import { onEveryDatabase, onEveryEnvironment, TestEnvironment, type TestApp } from './fixtures/app.js';
import { SERVERS } from './fixtures/databases.js';
import { onRedis } from './fixtures/redis.js';

@Entity('namespaced_token')
class NamespacedToken extends Token {}

const namespaceOf = (app: TestApp) => app.nest.get<string>(NAMESPACE);

/** Connects as an application does that writes its options in another way. */
async function derive(options: Record<string, unknown>): Promise<string> {
  const dataSource = await new DataSource({
    ...options,
    entities: [Token],
  } as unknown as DataSourceOptions).initialize();
  const namespace = deriveNamespace(dataSource, Token);
  await dataSource.destroy();
  return namespace;
}

describe('The option namespace', () => {
  onEveryDatabase((environment) => {
    afterEach(() => environment.closeApplications());

    it('is by default the same in all processes of an application, and another for another table or database', async () => {
      const namespace = namespaceOf(await environment.boot());
      expect(namespace).toMatch(/^[\w-]{22}$/);
      expect(namespaceOf(await environment.boot())).toBe(namespace);
      expect(namespaceOf(await environment.boot({ options: { tokenEntity: NamespacedToken } }))).not.toBe(namespace);
      const another = new TestEnvironment(environment.databaseName, environment.adapterName);
      await another.open();
      expect(namespaceOf(await another.boot())).not.toBe(namespace);
      await another.close();
      expect(namespaceOf(await environment.boot({ options: { namespace: 'a.b:c_d-1' } }))).toBe('a.b:c_d-1');
    });
  });

  onEveryEnvironment(
    (environment) => {
      it('does not depend on the way to the server by default, but on the schema', async () => {
        const { type } = environment.databaseOptions;
        const { hostname, port, pathname, username, password } = new URL(environment.url);
        const namespace = await derive({ ...environment.databaseOptions });
        const others = { port: Number(port), username, password, database: pathname.slice(1) };
        expect(await derive({ type, host: hostname === 'localhost' ? '127.0.0.1' : 'localhost', ...others })).toBe(
          namespace,
        );
        if (type !== 'postgres') return;
        expect(await derive({ ...environment.databaseOptions, schema: 'public' })).toBe(namespace);
        expect(await derive({ ...environment.databaseOptions, schema: 'tenant' })).not.toBe(namespace);
      });
    },
    { databases: ['postgres', 'mariadb'] },
  );

  it('does not depend on how the path of an SQLite file is written', async () => {
    const environment = new TestEnvironment('sqlite', 'express');
    await environment.open();
    const { database, ...options } = environment.databaseOptions as { database: string };
    const namespace = await derive({ ...options, database });
    expect(await derive({ ...options, database: relative(process.cwd(), database) })).toBe(namespace);
    symlinkSync(database, `${database}.link`);
    expect(await derive({ ...options, database: `${database}.link` })).toBe(namespace);
    expect(await derive({ ...options, database: `${database}.other` })).not.toBe(namespace);
    await environment.close();
  });

  it.each(['', 'a b', 'a\n', 'ü', 'a/b', '{a}', 'a*', 'x'.repeat(65), 7, null])('cannot be %j', async (namespace) => {
    const environment = new TestEnvironment('sqlite', 'express');
    await environment.open();
    await expect(environment.boot({ options: { namespace: namespace as string } })).rejects.toThrow(
      'ExpiringTokenModule: namespace: ',
    );
    await environment.close();
  });
});

onRedis(() => {
  describe('Applications that share a Redis', () => {
    const [one, other] = [new TestEnvironment('sqlite', 'express'), new TestEnvironment('sqlite', 'express')];
    const clients: Redis[] = [];
    beforeAll(() => Promise.all([one.open(), other.open()]));
    afterEach(async () => {
      await Promise.all([one, other].map((environment) => environment.closeApplications()));
      for (const client of clients.splice(0)) client.disconnect();
    });
    afterAll(() => Promise.all([one, other].map((environment) => environment.close())));

    const redisOf = (db: number) => {
      const client = new Redis(SERVERS.redis, { db });
      clients.push(client);
      return client;
    };
    const boot = (environment: TestEnvironment, db: number, options: ExpiringTokenModuleOptions = {}) => {
      const redis = redisOf(db);
      const all = {
        loginThrottle: { limit: 2, redis },
        cache: { ttl: '1h', redis },
        prune: false,
        ...options,
      } as const;
      return environment.boot({ module: [ExpiringTokenModule.forRoot(all)] });
    };
    const fail = async (app: TestApp, name: string) => (await app.login(name, 'wrong')).status;

    it.each([
      ['with one database number', 0, 0],
      ['with two database numbers', 0, 1],
    ])('count failed logins separately, %s', async (_, number, otherNumber) => {
      const app = await boot(one, number);
      const another = await boot(other, otherNumber);
      const name = randomUUID();
      expect([await fail(app, name), await fail(app, name), await fail(app, name)]).toEqual([401, 401, 429]);
      expect([await fail(another, name), await fail(another, name), await fail(another, name)]).toEqual([
        401, 401, 429,
      ]);
      // Another process of the first application counts with it.
      const sibling = await boot(one, number);
      expect(await fail(sibling, name)).toBe(429);
      for (const environment of [one, other]) {
        const keys = await redisOf(0).keys(`expiring-token:${namespaceOf(await boot(environment, 0))}:*`);
        if (keys.length > 0) await redisOf(0).del(keys);
      }
    });

    it.each([
      ['with one database number', 0, 0],
      ['with two database numbers', 0, 1],
    ])('evict nothing from the caches of each other, %s', async (_, number, otherNumber) => {
      const app = await boot(one, number);
      const sibling = await boot(one, otherNumber);
      const another = await boot(other, otherNumber);
      await vi.waitUntil(() => [app, sibling, another].every(({ tokens }) => tokens.cacheStatus().isOpen), {
        timeout: 5000,
      });
      const received = ({ tokens }: TestApp) => tokens.cacheStatus().revocations;
      const before = [received(sibling), received(another)] as const;
      await app.tokens.issue('7');
      await app.tokens.revokeAll('7');
      await vi.waitUntil(() => received(sibling) > before[0], { timeout: 5000, interval: 5 });
      // Redis delivers in order: what the first application published is delivered before this.
      await another.tokens.issue('8');
      await vi.waitUntil(() => received(another) > before[1], { timeout: 5000, interval: 5 });
      expect(received(another)).toBe(before[1] + 1);
    });

    it('share their counters if they have the same namespace', async () => {
      const namespace = `test-${randomUUID()}`;
      const [app, another] = [await boot(one, 0, { namespace }), await boot(other, 0, { namespace })];
      expect([await fail(app, 'ann'), await fail(another, 'ann'), await fail(app, 'ann')]).toEqual([401, 401, 429]);
      const keys = await redisOf(0).keys(`*${namespace}*`);
      expect(keys).toHaveLength(2);
      for (const key of keys) expect(key).toMatch(/^expiring-token:test-[\w-]+:login:(?:name|address):[\w-]{43}$/);
      await redisOf(0).del(keys);
    });
  });
});
