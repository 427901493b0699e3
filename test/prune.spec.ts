import { stat } from 'node:fs/promises';
import fc from 'fast-check';
import { type PruneProgress, Token } from 'nestjs-expiring-token';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DATABASE } from '../lib/expiring-token.constants.js';
import type { Database } from '../lib/database/database.js';
import type { Statement } from '../lib/database/dialect.js';
import { uuidV7 } from '../lib/database/uuid-v7.js';
import { isLive, TokenValidity } from '../lib/tokens/token-lifetime.js';
import { generateToken, digestToken } from '../lib/tokens/secret/token-secret.js';
import { TokenQueries } from '../lib/tokens/token.queries.js';
import { TokenStore } from '../lib/tokens/token.store.js';
import { onEveryDatabase, type TestApp } from './fixtures/app.js';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

interface SqliteConnection {
  exec(sql: string): unknown;
}

/** A row of any age, inserted directly. */
function newToken(app: TestApp, row: Partial<Token>): Token {
  const id = uuidV7(app.clock.now);
  return Object.assign(new Token(), {
    id,
    userId: 'somebody',
    deviceId: uuidV7(app.clock.now),
    purpose: 'access',
    name: null,
    userAgent: null,
    created: new Date(app.clock.now),
    lifespan: null,
    lastUsedAt: null,
    digest: digestToken(generateToken('ext_', id)),
    ...row,
  });
}

const put = (app: TestApp, row: Partial<Token>) => app.dataSource.getRepository(Token).save(newToken(app, row));

const idsOf = async (app: TestApp) => new Set((await app.dataSource.getRepository(Token).find()).map(({ id }) => id));

describe('Pruning', () => {
  onEveryDatabase((environment) => {
    beforeEach(async () => {
      await (await environment.boot()).dataSource.getRepository(Token).deleteAll();
    });
    // Otherwise the background pruning of closed applications would continue.
    afterEach(() => environment.closeApplications());

    it('keeps an expired token for the retention period, in which its client still gets token_expired', async () => {
      const app = await environment.boot({ options: { lifespan: '1d', prune: { retention: '2d' } } });
      const token = await app.token();
      app.clock.advance(DAY_MS);
      expect((await app.get('/me', token)).json.code).toBe('token_expired');
      app.clock.advance(2 * DAY_MS);
      expect(await app.tokens.prune()).toBe(0);
      expect((await app.get('/me', token)).json.code).toBe('token_expired');
      app.clock.advance(1);
      expect(await app.tokens.prune()).toBe(1);
      expect((await app.get('/me', token)).json.code).toBe('token_invalid');
      expect(await app.tokens.prune()).toBe(0);
    });

    it('deletes the tokens that have expired by the one predicate of validity, and no others, of every age and purpose', async () => {
      const app = await environment.boot({
        options: { lifespan: '30d', idle: '20d', refresh: { idle: '7d', lifespan: '40d' }, prune: { batch: 7 } },
      });
      const { lifetimes } = app.nest.get(TokenValidity);
      const days = (most: number) => fc.integer({ min: -1, max: most * 4 }).map((quarters) => (quarters * DAY_MS) / 4);
      const ages = fc.record({
        purpose: fc.constantFrom('access' as const, 'obtained' as const, 'refresh' as const, 'rotated' as const),
        age: days(60),
        unused: fc.option(days(60)),
        lifespan: fc.option(fc.constantFrom(1, DAY_MS, 25 * DAY_MS, 50 * DAY_MS, Infinity)),
      });
      for (const { purpose, age, unused, lifespan } of fc.sample(ages, { numRuns: 300, seed: 4 })) {
        await put(app, {
          purpose,
          created: new Date(app.clock.now - age),
          lastUsedAt: unused === null ? null : new Date(app.clock.now - Math.min(unused, age)),
          lifespan,
        });
      }
      const all = await app.dataSource.getRepository(Token).find();
      const stays = all.filter((token) => isLive(token, lifetimes, app.clock.now - 7 * DAY_MS - 1));
      expect(stays.length).toBeGreaterThan(50);
      expect(all.length - stays.length).toBeGreaterThan(50);

      const live = await app.tokens.list('somebody');
      const expected = all.filter((token) => token.purpose !== 'rotated' && isLive(token, lifetimes, app.clock.now));
      expect(new Set(live.map(({ id }) => id))).toEqual(new Set(expected.map(({ deviceId }) => deviceId)));

      expect(await app.tokens.prune()).toBe(all.length - stays.length);
      expect(await idsOf(app)).toEqual(new Set(stays.map(({ id }) => id)));
    });

    it('spares a token that was renewed after the sweep read it', async () => {
      const app = await environment.boot({ options: { lifespan: '1d', idle: '12h' } });
      const old = { created: new Date(app.clock.now - 30 * DAY_MS) };
      const [renewed, used, dead] = [await put(app, old), await put(app, old), await put(app, old)];
      const database = app.nest.get<Database>(DATABASE);
      const write = database.write.bind(database);
      vi.spyOn(database, 'write').mockImplementation(async (statement, signal) => {
        if (!statement.sql.startsWith('DELETE')) return write(statement, signal);
        const tokens = app.dataSource.getRepository(Token);
        await tokens.update({ id: renewed.id }, { created: new Date(app.clock.now) });
        await tokens.update(
          { id: used.id },
          { created: new Date(app.clock.now - HOUR_MS), lastUsedAt: new Date(app.clock.now) },
        );
        return write(statement, signal);
      });
      expect(await app.tokens.prune()).toBe(1);
      const left = await idsOf(app);
      expect([renewed.id, used.id, dead.id].map((id) => left.has(id))).toEqual([true, true, false]);
    });

    it('lets requests run between batches, also if each token has its own lifespan', async () => {
      const app = await environment.boot();
      const created = new Date(app.clock.now - 90 * DAY_MS);
      const tokens = app.dataSource.getRepository(Token);
      await tokens.insert(Array.from({ length: 100 }, (_, made) => newToken(app, { created, lifespan: made + 1 })));
      let turns = 0;
      const ticking = setInterval(() => turns++, 0);
      expect(await app.tokens.prune()).toBe(100);
      clearInterval(ticking);
      expect(turns).toBeGreaterThan(33);
    });

    it('sends few different statements, however many rows there are', async () => {
      const app = await environment.boot();
      const queries = app.nest.get(TokenQueries);
      const ids = Array.from({ length: 300 }, () => uuidV7(app.clock.now));
      const forms = new Set(ids.map((_, count) => queries.deleteExpired(ids.slice(0, count + 1), 0).sql));
      expect(forms.size).toBeLessThanOrEqual(10);
    });

    it('deletes many tokens of the same instant in batches, without omitting one', async () => {
      const app = await environment.boot({ options: { prune: { batch: 5 } } });
      const created = new Date(app.clock.now - 90 * DAY_MS);
      for (let made = 0; made < 23; made++) await put(app, { created });
      const kept = await put(app, { created, lifespan: Infinity });
      const writes = vi.spyOn(app.nest.get<Database>(DATABASE), 'write');
      const before = await app.countTokens();
      expect(await app.tokens.prune()).toBe(23);
      expect(writes.mock.calls.filter(([{ sql }]) => sql.startsWith('DELETE'))).toHaveLength(5);
      expect(await app.countTokens()).toBe(before - 23);
      expect(await idsOf(app)).toContain(kept.id);
    });

    it.each([
      ['grows as long as it is quick', 1400, { readMs: 0, writeMs: 0 }, [25, 50, 100, 200, 400, 500]],
      ['grows where the server is only far away', 350, { readMs: 50, writeMs: 50 }, [25, 50, 100, 200]],
      ['stays small where it takes long', 150, { readMs: 0, writeMs: 50 }, [25, 25, 25, 25, 25, 25]],
    ] as const)('starts with a small batch, which %s', async (_, count, { readMs, writeMs }, sizes) => {
      const app = await environment.boot({ options: { prune: { batch: 500 } } });
      const created = new Date(app.clock.now - 90 * DAY_MS);
      const tokens = app.dataSource.getRepository(Token);
      for (let made = 0; made < count; made += 50) {
        await tokens.insert(Array.from({ length: 50 }, () => newToken(app, { created })));
      }
      const store = app.nest.get(TokenStore);
      // The clock advances with each statement, and does not move otherwise.
      let now = performance.now();
      const next = store.next.bind(store);
      const remove = store.deleteExpired.bind(store);
      const asked = vi.spyOn(store, 'next').mockImplementation((...given) => {
        now += readMs;
        return next(...given);
      });
      vi.spyOn(store, 'deleteExpired').mockImplementation((...given) => {
        now += writeMs;
        return remove(...given);
      });
      const passing = vi.spyOn(performance, 'now').mockImplementation(() => now);
      try {
        expect(await app.tokens.prune()).toBe(count);
      } finally {
        passing.mockRestore();
      }
      const limits = asked.mock.calls.filter(([{ purpose }]) => purpose === 'access').map((call) => call[3]);
      expect(limits.slice(0, sizes.length)).toEqual(sizes);
    });

    it.runIf(environment.databaseName === 'sqlite')(
      'leaves no long write-ahead log to SQLite that would be checkpointed in one go',
      { timeout: 60_000 },
      async () => {
        const app = await environment.boot();
        const created = new Date(app.clock.now - 90 * DAY_MS);
        for (let made = 0; made < 10_000; made += 500) {
          await app.dataSource
            .getRepository(Token)
            .insert(Array.from({ length: 500 }, () => newToken(app, { created, userId: uuidV7(made) })));
        }
        await app.dataSource.query('PRAGMA wal_checkpoint(TRUNCATE)');
        expect(await app.tokens.prune()).toBe(10_000);
        const { size } = await stat(`${String(app.dataSource.options.database)}-wal`);
        expect(size).toBeLessThan(2 ** 21);
      },
    );

    it.runIf(environment.databaseName === 'sqlite')(
      'does not checkpoint if the application does so itself',
      async () => {
        const app = await environment.boot();
        await app.dataSource.query('PRAGMA wal_checkpoint(TRUNCATE)');
        await app.dataSource.query('PRAGMA wal_autocheckpoint = 0');
        const created = new Date(app.clock.now - 90 * DAY_MS);
        for (let made = 0; made < 25; made++) await put(app, { created });
        const carry = vi.spyOn(
          (app.dataSource.driver as unknown as { databaseConnection: SqliteConnection }).databaseConnection,
          'exec',
        );
        expect(await app.tokens.prune()).toBe(25);
        expect(carry.mock.calls.flat().filter((sql) => sql.includes('checkpoint'))).toEqual([]);
      },
    );

    it('counts each token once if several processes prune simultaneously', async () => {
      const clock = (await environment.boot()).clock;
      const options = { prune: { batch: 10 } };
      const apps = [await environment.boot({ options, clock }), await environment.boot({ options, clock })];
      const created = new Date(clock.now - 90 * DAY_MS);
      await Promise.all(Array.from({ length: 200 }, () => put(apps[0]!, { created })));
      const counts = await Promise.all(apps.map(({ tokens }) => tokens.prune()));
      expect(counts[0]! + counts[1]!).toBe(200);
    });

    it('runs in the background soon after the start, and then at intervals', async () => {
      const app = await environment.boot({ options: { prune: { every: 20, retention: '1d' } } });
      const old = { created: new Date(app.clock.now - 60 * DAY_MS) };
      for (let round = 0; round < 2; round++) {
        const { id } = await put(app, old);
        await vi.waitUntil(async () => !(await idsOf(app)).has(id), { timeout: 10_000 });
      }
    });

    it('reports its progress, and ends before the next batch when it is aborted', async () => {
      const app = await environment.boot({ options: { prune: { batch: 10 } } });
      await put(app, { created: new Date(app.clock.now - 32 * DAY_MS) });
      for (let made = 0; made < 25; made++) await put(app, { created: new Date(app.clock.now - 60 * DAY_MS) });
      const stopping = new AbortController();
      const told: PruneProgress[] = [];
      const onProgress = (progress: PruneProgress) => {
        told.push(progress);
        if (told.length === 2) stopping.abort();
      };
      expect(await app.tokens.prune({ onProgress, signal: stopping.signal })).toBe(20);
      expect(told).toEqual([
        { deleted: 10, examined: 10, total: 25 },
        { deleted: 20, examined: 20, total: 25 },
      ]);
      // One more token that expired more than a day ago.
      expect(await app.tokens.prune({ retention: '1d', batch: 3 })).toBe(6);
      await expect(app.tokens.prune({ retention: 'soon' })).rejects.toThrow('prune.retention');
    });

    it('does not run in the background with prune: false, and can still be called', async () => {
      const app = await environment.boot({ options: { prune: false } });
      await put(app, { created: new Date(app.clock.now - 60 * DAY_MS) });
      expect(await app.tokens.prune()).toBe(1);
    });

    it('runs again after an outage stopped it, and fails no request', async () => {
      // The row is added before pruning starts, because a running pruning would find it.
      const read = vi.spyOn(TokenStore.prototype, 'next').mockRejectedValueOnce(new Error('gone'));
      const app = await environment.boot({ options: { prune: { every: 20 } } });
      const { id } = await put(app, { created: new Date(app.clock.now - 60 * DAY_MS) });
      await vi.waitUntil(async () => !(await idsOf(app)).has(id), { timeout: 10_000 });
      expect(read.mock.settledResults[0]).toMatchObject({ type: 'rejected' });
      read.mockRestore();
    });
  });

  describe('finds expired rows by an index', () => {
    onEveryDatabase((environment) => {
      it('for each lifespan', async () => {
        const app = await environment.boot({ options: { lifespan: '150d', prune: { retention: 1, batch: 25 } } });
        const tokens = app.dataSource.getRepository(Token);
        const row = (made: number) => newToken(app, { created: new Date(app.clock.now - made * HOUR_MS) });
        for (let chunk = 0; chunk < 4000; chunk += 500) {
          await tokens.insert(Array.from({ length: 500 }, (_, made) => row(chunk + made)));
        }
        await put(app, { lifespan: Infinity });
        await app.dataSource.query(`ANALYZE ${environment.databaseName === 'mariadb' ? 'TABLE ' : ''}auth_token`);

        const database = app.nest.get<Database>(DATABASE);
        const sent = [vi.spyOn(database, 'read'), vi.spyOn(database, 'write')];
        expect(await app.tokens.prune()).toBe(4000 - 150 * 24 - 1);
        const [index] = tokens.metadata.indices.filter(({ columns }) => columns[0]!.propertyName === 'sealedUntil');
        // The first statement of each form has values of existing tokens.
        const forms = new Map<string, Statement['values']>();
        for (const [{ sql, values }] of sent.flatMap(({ mock }) => mock.calls)) {
          // The statement that deletes by primary key.
          if (!forms.has(sql) && !sql.startsWith('DELETE')) forms.set(sql, values);
        }
        expect(forms.size).toBe(4);
        for (const [sql, values] of forms) {
          const plan = await explain(app, environment.databaseName, sql, values);
          expect(plan, sql).toMatch(new RegExp(`${index!.name}|Select tables optimized away`));
          expect(plan, sql).not.toMatch(/filesort|temporary|TEMP B-TREE|"Sort/);
        }
      });
    });
  });
});

async function explain(app: TestApp, database: string, sql: string, values: readonly unknown[]): Promise<string> {
  const explained = `${database === 'sqlite' ? 'EXPLAIN QUERY PLAN' : 'EXPLAIN'} ${sql}`;
  let position = 0;
  const text = database === 'postgres' ? explained.replaceAll('?', () => `$${++position}`) : explained;
  return JSON.stringify(await app.dataSource.query(text, [...values]));
}
