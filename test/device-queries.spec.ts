import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { type Device, type ExpiringTokenModuleOptions, Token, type TokenPurpose } from 'nestjs-expiring-token';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Database } from '../lib/database/database.js';
import { uuidV7 } from '../lib/database/uuid-v7.js';
import { DATABASE, RESOLVED_OPTIONS } from '../lib/expiring-token.constants.js';
import type { ResolvedOptions } from '../lib/options/resolve-options.js';
import { DeviceQueries } from '../lib/tokens/device.queries.js';
import { expiryOf, isLive, TokenValidity } from '../lib/tokens/token-lifetime.js';
import { rulesOf } from '../lib/tokens/token-purpose.js';
import { onEveryDatabase, type TestApp, TestClock } from './fixtures/app.js';
import { seedTokens } from './fixtures/seed-tokens.js';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** What the tokens of one device make by the rule of validity; undefined if none of them is live. */
function deviceOf(tokens: readonly Token[], app: TestApp): { shown: Device; lastSeen: number } | undefined {
  const { lifetimes } = app.nest.get(TokenValidity);
  const { lastUsedAccuracyMs } = app.nest.get<ResolvedOptions>(RESOLVED_OPTIONS);
  const live = tokens.filter((token) => rulesOf(token.purpose)?.isDevice && isLive(token, lifetimes, app.clock.now));
  const [first] = live;
  if (!first) return undefined;
  const createdMs = Math.min(...live.map(({ created }) => Number(created)));
  const canRefresh = live.some(({ purpose }) => purpose === 'refresh');
  const rounded = (sinceMs: number, atMs: number) =>
    !Number.isFinite(atMs) || atMs <= sinceMs ? atMs : atMs - ((atMs - sinceMs) % lastUsedAccuracyMs);
  const ends = live.map((token) => {
    const { purpose, created, lifespan } = token;
    const isRefresh = purpose === 'refresh';
    const use = token.lastUsedAt && Number(token.lastUsedAt);
    const usedFor = use === null ? 0 : use - Number(created);
    const lastUsedAt = use === null ? null : new Date(isRefresh ? use - (usedFor % lastUsedAccuracyMs) : use);
    const end = expiryOf({ purpose, created, lifespan, lastUsedAt }, lifetimes);
    const endMs = end ? Number(end) : Infinity;
    return canRefresh && !isRefresh ? rounded(createdMs, endMs) : endMs;
  });
  const uses = live.flatMap(({ lastUsedAt }) => (lastUsedAt ? [Number(lastUsedAt)] : []));
  const lastUseMs = Math.max(...uses);
  const createdAt = new Date(createdMs);
  return {
    shown: {
      id: first.deviceId,
      name: first.name,
      userAgent: first.userAgent,
      createdAt,
      lastUsedAt: uses.length > 0 ? new Date(canRefresh ? rounded(createdMs, lastUseMs) : lastUseMs) : null,
      expiresAt: Math.max(...ends) === Infinity ? null : new Date(Math.max(...ends)),
    },
    lastSeen: Math.max(Number(createdAt), ...live.map(({ lastUsedAt }) => Number(lastUsedAt))),
  };
}

describe('The devices that a database aggregates', () => {
  const OPTIONS: Record<string, ExpiringTokenModuleOptions> = {
    'limited lifetimes': {
      lifespan: '30d',
      idle: '20d',
      refresh: { idle: '7d', lifespan: '40d' },
      lastUsedAccuracy: '5h',
    },
    'lifetimes without an end': { lifespan: null, refresh: { idle: '10d', lifespan: null }, lastUsedAccuracy: 1 },
  };

  /** Ages in quarters of a day, some of them a millisecond more or less. */
  const ages = (days: number) =>
    fc
      .tuple(fc.integer({ min: -4, max: days * 4 }), fc.integer({ min: -1, max: 1 }))
      .map(([quarters, more]) => (quarters * DAY_MS) / 4 + more);
  const rows = fc.array(
    fc.record({
      device: fc.nat(4),
      purpose: fc.constantFrom<TokenPurpose>('access', 'obtained', 'refresh', 'rotated'),
      age: ages(50),
      unused: fc.option(ages(50)),
      lifespan: fc.option(fc.constantFrom(1, DAY_MS, 25 * DAY_MS, Infinity), { freq: 3 }),
    }),
    { maxLength: 12, size: 'max' },
  );

  onEveryDatabase((environment) => {
    const clock = new TestClock();
    const apps = new Map<string, TestApp>();
    beforeAll(async () => {
      for (const [name, options] of Object.entries(OPTIONS)) {
        apps.set(name, await environment.boot({ options, clock }));
      }
    });

    it.each(Object.keys(OPTIONS))('are those that the rule of validity makes of the same rows: %s', async (name) => {
      const app = apps.get(name)!;
      const queries = app.nest.get(DeviceQueries);
      const database = app.nest.get<Database>(DATABASE);
      const read = (statement: Parameters<Database['read']>[0]) =>
        database.read(statement, new AbortController().signal);
      let users = 0;
      let live = 0;
      const property = fc.asyncProperty(rows, async (sample) => {
        const userId = `${name} ${users++}`;
        const deviceIds = Array.from({ length: 5 }, () => uuidV7(clock.now));
        const tokens = sample.map(({ device, purpose, age, unused, lifespan }) => ({
          id: uuidV7(clock.now),
          userId,
          deviceId: deviceIds[device]!,
          purpose,
          digest: randomBytes(32),
          name: `device ${device}`,
          userAgent: device % 2 === 0 ? null : `browser ${device}`,
          created: new Date(clock.now - age),
          lifespan,
          lastUsedAt: unused === null ? null : new Date(clock.now - unused),
        }));
        if (tokens.length > 0) await app.dataSource.getRepository(Token).insert(tokens);

        const made = deviceIds.map((id) =>
          deviceOf(tokens.filter(({ deviceId }) => deviceId === id) as unknown as Token[], app),
        );
        const expected = made.filter((device) => device !== undefined);
        live += expected.length;
        const shown = expected.map((device) => device.shown);
        const newestFirst = shown.toSorted(
          (a, b) => Number(b.createdAt) - Number(a.createdAt) || (a.id < b.id ? 1 : -1),
        );
        expect(await app.tokens.list(userId)).toEqual(newestFirst);
        expect(Number((await read(queries.count(userId, clock.now)))[0]!.found)).toBe(shown.length);
        const ids = queries.deviceIds(await read(queries.ids(userId, clock.now)));
        expect(ids.toSorted()).toEqual(shown.map(({ id }) => id).toSorted());
        const byUse = expected
          .toSorted(
            (a, b) =>
              a.lastSeen - b.lastSeen ||
              Number(a.shown.createdAt) - Number(b.shown.createdAt) ||
              (a.shown.id < b.shown.id ? -1 : 1),
          )
          .map((device) => device.shown.id);
        expect(queries.deviceIds(await read(queries.leastRecentlyUsed(userId, clock.now, 2)))).toEqual(
          byUse.slice(0, 2),
        );
      });
      await fc.assert(property, { numRuns: 60 });
      expect(live).toBeGreaterThan(20);
    });

    it('are listed up to the newest ten thousand, and are all counted and revoked', async () => {
      const app = apps.get('limited lifetimes')!;
      const { id: userId } = await app.createUser();
      const { plainText } = await app.tokens.issue(userId);
      const newest = clock.now - 1;
      await seedTokens(app.dataSource, environment.databaseName, { userId, purpose: 'access', rows: 10_004, newest });
      const devices = await app.tokens.list(userId);
      expect(devices).toHaveLength(10_000);
      expect(devices[0]!.createdAt).toEqual(new Date(clock.now));
      expect(devices.at(-1)!.createdAt).toEqual(new Date(newest - 9998));
      const { json } = await app.post('/auth/logout-all', { keepCurrent: true }, plainText);
      expect(json).toEqual({ revoked: 10_004 });
      expect(await app.tokens.revokeAll(userId)).toBe(1);
    });

    it('lose the least recently used ones with one login, however many they are', async () => {
      const { id: userId } = await apps.get('limited lifetimes')!.createUser();
      const app = await environment.boot({ options: { limit: { perUser: 2, policy: 'evict' } }, clock });
      await seedTokens(app.dataSource, environment.databaseName, {
        userId,
        purpose: 'access',
        rows: 10_000,
        newest: clock.now - 1,
      });
      const { token } = await app.tokens.issue(userId);
      const devices = await app.tokens.list(userId);
      expect(devices.map(({ createdAt }) => createdAt)).toEqual([token.created, new Date(clock.now - 1)]);
      expect(await app.dataSource.getRepository(Token).countBy({ userId })).toBe(2);
    });
  });
});
