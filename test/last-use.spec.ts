import { setTimeout as wait } from 'node:timers/promises';
import { Token } from 'nestjs-expiring-token';
import { TestClock } from 'nestjs-expiring-token/testing';
import { describe, expect, it, vi } from 'vitest';
import { DATABASE } from '../lib/expiring-token.constants.js';
import type { Database } from '../lib/database/database.js';
import { uuidV7 } from '../lib/database/uuid-v7.js';
import { LastUse } from '../lib/tokens/last-use.js';
import { onEveryDatabase, type TestApp, warnings } from './fixtures/app.js';
import { seedTokens } from './fixtures/seed-tokens.js';

/** More than several statements take. */
const TOKENS = 5000;

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

const lastUseOf = async (app: TestApp, token: string) => {
  await app.usesWritten();
  return (await app.get('/auth/token', token)).json.lastUsedAt as string | null;
};

const isoNow = (app: TestApp) => new Date(app.clock.now).toISOString();

/** Whether a transaction stores last uses: it is the only one without a lock. */
const isUse = (lock: string | null) => lock === null;

/** Records transactions that store last uses, and returns the number of rows that each changed. The first `failures` of them fail. */
function watchUses(app: TestApp, failures = 0): Promise<number>[] {
  const database = app.nest.get<Database>(DATABASE);
  const transaction = database.transaction.bind(database);
  const uses: Promise<number>[] = [];
  vi.spyOn(database, 'transaction').mockImplementation((lock, script, signal) => {
    if (!isUse(lock)) return transaction(lock, script, signal);
    let changed = 0;
    const counted = function* (): ReturnType<typeof script> {
      const statements = script();
      changed = 0;
      let step = statements.next();
      while (!step.done) {
        const result = yield step.value;
        if (step.value.sql.startsWith('UPDATE')) changed += result.affected;
        step = statements.next(result);
      }
      return step.value;
    };
    if (uses.length < failures) {
      uses.push(Promise.resolve(0));
      return Promise.reject(new Error('disk full'));
    }
    const use = transaction(lock, counted, signal);
    uses.push(use.then(() => changed));
    return use;
  });
  return uses;
}

describe('The last use of a token', () => {
  onEveryDatabase((environment) => {
    it('is null at the first request, and known at the next', async () => {
      const app = await environment.boot();
      const token = await app.token();
      expect((await app.get('/auth/token', token)).json.lastUsedAt).toBeNull();
      expect(await lastUseOf(app, token)).toBe(isoNow(app));
    });

    it('is not recorded for a rejected request', async () => {
      const app = await environment.boot({ options: { idle: '1h' } });
      const user = await app.createUser();
      const { plainText, token } = await app.tokens.issue(user.id);
      const storedUses = async () => {
        await app.usesWritten();
        return (await app.dataSource.getRepository(Token).findOneByOrFail({ id: token.id })).lastUsedAt;
      };
      await app.users.setActive(user.id, false);
      expect((await app.get('/me', plainText)).status).toBe(401);
      await app.users.setActive(user.id, true);
      app.clock.advance(HOUR_MS);
      expect((await app.get('/me', plainText)).json.code).toBe('token_expired');
      expect(await storedUses()).toBeNull();
    });
  });

  onEveryDatabase((environment) => {
    it('is written once for a thousand requests within the accuracy window, in any number of processes', async () => {
      const app = await environment.boot();
      const other = await environment.boot({ clock: app.clock });
      const uses = [watchUses(app), watchUses(other)];
      const token = await app.token();
      const first = isoNow(app);
      for (let sent = 0; sent < 1000; sent += 100) {
        const answers = Array.from({ length: 50 }, () => [app.get('/me', token), other.get('/me', token)]).flat();
        const statuses = (await Promise.all(answers)).map(({ status }) => status);
        expect(new Set(statuses), `requests ${sent} to ${sent + 99}`).toEqual(new Set([200]));
        // Before the clock moves on: of several uses that wait, the latest is written.
        await Promise.all([app.usesWritten(), other.usesWritten()]);
        app.clock.advance(MINUTE_MS);
      }
      await Promise.all([app.usesWritten(), other.usesWritten()]);
      const changed = await Promise.all(uses.flat());
      expect(changed.reduce((sum, rows) => sum + rows, 0)).toBe(1);
      // Requests that were in flight during the first write may write again, without changing a row.
      expect(changed.length).toBeLessThanOrEqual(10);
      expect(await lastUseOf(app, token)).toBe(first);

      app.clock.advance(21 * MINUTE_MS);
      expect((await app.get('/me', token)).status).toBe(200);
      expect(await lastUseOf(app, token)).toBe(isoNow(app));
    });

    it('never moves back, whichever clock wrote it', async () => {
      const app = await environment.boot();
      const token = await app.token();
      await app.get('/me', token);
      const first = await lastUseOf(app, token);
      app.clock.advance(-2 * HOUR_MS);
      await app.get('/me', token);
      expect(await lastUseOf(app, token)).toBe(first);
      app.clock.advance(2 * HOUR_MS + 30 * MINUTE_MS - 1);
      await app.get('/me', token);
      expect(await lastUseOf(app, token)).toBe(first);
      app.clock.advance(1);
      await app.get('/me', token);
      expect(await lastUseOf(app, token)).toBe(isoNow(app));
    });

    it('does not bring a revoked token back', async () => {
      const app = await environment.boot();
      const user = await app.createUser();
      const { plainText, token } = await app.tokens.issue(user.id);
      const noting = app.get('/me', plainText);
      await app.tokens.revoke(user.id, token.deviceId);
      await noting;
      await app.usesWritten();
      expect(await app.dataSource.getRepository(Token).countBy({ userId: user.id })).toBe(0);
    });

    it('that cannot be written fails no request, and is written by the next request', async () => {
      const app = await environment.boot();
      const token = await app.token();
      const uses = watchUses(app, 1);
      expect((await app.get('/me', token)).status).toBe(200);
      await app.usesWritten();
      expect(uses).toHaveLength(1);
      expect(await lastUseOf(app, token)).toBeNull();
      expect(await lastUseOf(app, token)).toBe(isoNow(app));
    });

    it('is written of thousands of tokens beside the requests, of each token its latest use', async () => {
      const app = await environment.boot();
      const lastUse = app.nest.get(LastUse);
      const uses = watchUses(app);
      const user = await app.createUser();
      await seedTokens(app.dataSource, environment.databaseName, {
        userId: user.id,
        purpose: 'access',
        rows: TOKENS,
        newest: app.clock.now,
      });
      const repository = app.dataSource.getRepository(Token);
      const tokens = await repository.findBy({ userId: user.id });
      const earlier = tokens[0]!;
      await repository.update(earlier.id, { lastUsedAt: new Date(app.clock.now + 1) });
      /** The most transactions between which no waiting request would have run. */
      let mostInTurn = 0;
      let begun = 0;
      const count = () => {
        mostInTurn = Math.max(mostInTurn, uses.length - begun);
        begun = uses.length;
        next = setImmediate(count);
      };
      for (const token of tokens) lastUse.note(token);
      let next = setImmediate(count);
      await app.usesWritten();
      clearImmediate(next);
      expect(mostInTurn).toBe(1);
      const written = await Promise.all(uses);
      expect(Math.max(...written)).toBeLessThanOrEqual(environment.databaseName === 'sqlite' ? 100 : 1000);
      expect(written.reduce((sum, rows) => sum + rows, 0)).toBe(TOKENS - 1);
      const stored = await repository.findBy({ userId: user.id });
      expect(stored.filter(({ lastUsedAt }) => lastUsedAt?.getTime() === app.clock.now)).toHaveLength(TOKENS - 1);
      expect((await repository.findOneByOrFail({ id: earlier.id })).lastUsedAt).toEqual(new Date(app.clock.now + 1));
    });

    it('is written of all tokens but the one whose row cannot be changed', async () => {
      const app = await environment.boot();
      const user = await app.createUser();
      const tokens = [];
      for (let index = 0; index < 20; index++) tokens.push((await app.tokens.issue(user.id)).token);
      const database = app.nest.get<Database>(DATABASE);
      const transaction = database.transaction.bind(database);
      vi.spyOn(database, 'transaction').mockImplementation((lock, script, signal) => {
        const failing = function* (): ReturnType<typeof script> {
          const statements = script();
          for (let step = statements.next(); ;) {
            if (step.done) return step.value;
            if (step.value.values.flat().some(isBad)) throw new Error('a trigger rejected the row');
            step = statements.next(yield step.value);
          }
        };
        return transaction(lock, isUse(lock) ? failing : script, signal);
      });
      const bad = tokens[7]!;
      const hexOf = (value: unknown) =>
        Buffer.isBuffer(value) ? value.toString('hex') : String(value).replaceAll('-', '');
      const isBad = (value: unknown) => hexOf(value).includes(hexOf(bad.id));
      for (const token of tokens) app.nest.get(LastUse).note(token);
      await app.usesWritten();
      const stored = await app.dataSource.getRepository(Token).findBy({ userId: user.id });
      expect(stored.filter(({ lastUsedAt }) => lastUsedAt === null).map(({ id }) => id)).toEqual([bad.id]);
    });

    it('is written immediately if none was written for a while', async () => {
      let isImmediate = false;
      // Other work of the machine can only lengthen a measurement.
      for (let attempt = 0; attempt < 5 && !isImmediate; attempt++) {
        const app = await environment.boot();
        const transactions = vi.spyOn(app.nest.get<Database>(DATABASE), 'transaction');
        const timeToStore = async (token: string) => {
          transactions.mockClear();
          const startedAtMs = performance.now();
          expect((await app.get('/me', token)).status).toBe(200);
          await vi.waitUntil(() => transactions.mock.calls.some(([lock]) => isUse(lock)), { interval: 1 });
          return performance.now() - startedAtMs;
        };
        const tokens = [await app.token(), await app.token()] as const;
        isImmediate = (await timeToStore(tokens[0])) < (await timeToStore(tokens[1])) / 2;
      }
      expect(isImmediate).toBe(true);
    });

    it('that hangs while it is written delays no request', async () => {
      const app = await environment.boot({ options: { timeout: '1h' } });
      const database = app.nest.get<Database>(DATABASE);
      let hung = 0;
      let resolve: (locked: never) => void;
      const promise = new Promise<never>((end) => (resolve = end));
      const transaction = database.transaction.bind(database);
      vi.spyOn(database, 'transaction').mockImplementation((lock, script, signal) => {
        if (!isUse(lock)) return transaction(lock, script, signal);
        hung++;
        return promise;
      });
      const [token, other] = [await app.token(), await app.token()];
      for (const [index, used] of [token, other, token].entries())
        expect((await app.get('/me', used)).status, `use ${index}`).toBe(200);
      const flushed = app.usesWritten();
      await vi.waitUntil(() => hung > 0);
      expect((await app.get('/me', token)).status).toBe(200);
      expect(hung).toBe(1);
      resolve!([] as never);
      await flushed;
    });

    it('waits in a queue of at most a hundred thousand tokens, which an outage empties', async () => {
      const app = await environment.boot();
      const lastUse = app.nest.get(LastUse);
      for (let index = 0; index < 100_100; index++) {
        lastUse.note(Object.assign(new Token(), { id: uuidV7(index), lastUsedAt: null }));
      }
      expect(lastUse['waiting'].size).toBe(100_000);
      const gone = Object.assign(new Error('gone'), { code: 'ECONNREFUSED' });
      const transaction = vi.spyOn(app.nest.get<Database>(DATABASE), 'transaction').mockRejectedValue(gone);
      await app.usesWritten();
      expect(lastUse['waiting'].size).toBe(0);
      expect(transaction).toHaveBeenCalledTimes(1);
    });

    it.each(['25006', '25P02'])('is tried once if the connection is the cause of the error %s', async (code) => {
      const app = await environment.boot();
      const lastUse = app.nest.get(LastUse);
      for (let index = 0; index < 20; index++) {
        lastUse.note(Object.assign(new Token(), { id: uuidV7(index), lastUsedAt: null }));
      }
      const error = Object.assign(new Error('refused'), { code });
      const transaction = vi.spyOn(app.nest.get<Database>(DATABASE), 'transaction').mockRejectedValue(error);
      await app.usesWritten();
      expect(transaction).toHaveBeenCalledTimes(1);
    });

    it('is written in few transactions, even if there is always one that waits', async () => {
      const app = await environment.boot();
      const lastUse = app.nest.get(LastUse);
      const transaction = vi.spyOn(app.nest.get<Database>(DATABASE), 'transaction');
      const startedAt = performance.now();
      let noted = 0;
      for (let elapsed = 0; elapsed < 500; elapsed = performance.now() - startedAt) {
        for (; noted < elapsed * 3; noted++)
          lastUse.note(Object.assign(new Token(), { id: uuidV7(noted), lastUsedAt: null }));
        await new Promise(setImmediate);
      }
      await app.usesWritten();
      expect(noted).toBeGreaterThan(1000);
      // SQLite stores 100 uses with one transaction. Without a pause to collect them, there were hundreds of transactions.
      expect(transaction.mock.calls.length).toBeLessThan(50);
    });

    it('that cannot be written causes one warning a minute, with the number of tokens', async () => {
      const app = await environment.boot();
      const lastUse = app.nest.get(LastUse);
      vi.spyOn(app.nest.get<Database>(DATABASE), 'transaction').mockRejectedValue(
        new Error('a trigger rejected the row'),
      );
      const before = warnings.length;
      for (let index = 0; index < 24; index++) {
        lastUse.note(Object.assign(new Token(), { id: uuidV7(index), lastUsedAt: null }));
        if (index % 8 === 7) await app.usesWritten();
      }
      expect(warnings.slice(before)).toEqual([
        expect.stringContaining('Last use of 8 tokens not stored: a trigger rejected the row'),
      ]);
      await app.nest.close();
      expect(warnings.slice(before + 1)).toEqual([expect.stringContaining('Last use of 16 tokens not stored')]);
    });

    it('delays the end of the application for at most twice the option timeout', async () => {
      const app = await environment.boot({ options: { timeout: '100ms' } });
      const lastUse = app.nest.get(LastUse);
      const database = app.nest.get<Database>(DATABASE);
      // Each statement ends just in time, so that the queue would delay the end for as long as it is long.
      vi.spyOn(database, 'transaction').mockImplementation(() => wait(70, [] as never));
      for (let index = 0; index < 20_000; index++) {
        lastUse.note(Object.assign(new Token(), { id: uuidV7(index), lastUsedAt: null }));
      }
      const before = warnings.length;
      const startedAtMs = performance.now();
      await lastUse.beforeApplicationShutdown();
      await lastUse.onApplicationShutdown();
      // The limit is extended at most once over if other work of the machine blocks the process.
      expect(performance.now() - startedAtMs).toBeLessThan(1000);
      expect(warnings.slice(before)).toEqual([expect.stringMatching(/Last use of \d{5} tokens not stored: no answer/)]);
      await app.nest.close();
    });

    it('is the later one of two processes that use the same thousand tokens simultaneously', async () => {
      const app = await environment.boot();
      const later = await environment.boot({ clock: new TestClock(app.clock.now + HOUR_MS) });
      const user = await app.createUser();
      const seed = { userId: user.id, purpose: 'access', rows: 1000, newest: app.clock.now } as const;
      await seedTokens(app.dataSource, environment.databaseName, seed);
      const repository = app.dataSource.getRepository(Token);
      const tokens = await repository.findBy({ userId: user.id });
      const before = warnings.length;
      for (const token of tokens) app.nest.get(LastUse).note(token);
      // In another order, in which two transactions would lock each other's rows.
      for (const token of tokens.toReversed()) later.nest.get(LastUse).note(token);
      await Promise.all([app.usesWritten(), later.usesWritten()]);
      const stored = await repository.findBy({ userId: user.id });
      const uses = stored.map(({ lastUsedAt }) => lastUsedAt?.getTime());
      expect(uses).toHaveLength(1000);
      expect(new Set(uses)).toEqual(new Set([later.clock.now]));
      expect(warnings.slice(before)).toEqual([]);
    });

    it('is written before the application closes', async () => {
      const app = await environment.boot();
      const { plainText, token } = await app.tokens.issue((await app.createUser()).id);
      await app.get('/me', plainText);
      await app.nest.close();
      const next = await environment.boot({ clock: app.clock });
      const row = await next.dataSource.getRepository(Token).findOneByOrFail({ id: token.id });
      expect(row.lastUsedAt).toEqual(new Date(app.clock.now));
    });
  });
});

describe('While another transaction has locked the row of a token', () => {
  onEveryDatabase(
    (environment) => {
      it('the uses of the other tokens are written, and the one of this token when the lock is released', async () => {
        const app = await environment.boot();
        const user = await app.createUser();
        const tokens = [];
        for (let index = 0; index < 20; index++) tokens.push((await app.tokens.issue(user.id)).token);
        const locked = tokens[7]!;
        const unused = async () => {
          const stored = await app.dataSource.getRepository(Token).findBy({ userId: user.id });
          return stored.filter(({ lastUsedAt }) => lastUsedAt === null).map(({ id }) => id);
        };
        const other = app.dataSource.createQueryRunner();
        await other.startTransaction();
        await other.manager.update(Token, locked.id, { name: 'held' });
        for (const token of tokens) app.nest.get(LastUse).note(token);
        const flushed = app.usesWritten();
        await vi.waitUntil(async () => (await unused()).length === 1);
        expect(await unused()).toEqual([locked.id]);
        await other.commitTransaction();
        await other.release();
        await flushed;
        expect(await unused()).toEqual([]);
      });
    },
    ['postgres', 'mariadb'],
  );
});

describe('While another process holds the write lock of an SQLite file', () => {
  onEveryDatabase(
    (environment) => {
      it('requests succeed without writing the last use, and a login gets 503 in time and 200 afterwards', async () => {
        const app = await environment.boot({ options: { timeout: '300ms' } });
        const user = await app.createUser();
        const token = await app.token(user.id);
        const { database, driver } = app.dataSource.options as unknown as {
          database: string;
          driver: new (path: string) => { exec(sql: string): void; close(): void };
        };
        const other = new driver(database);
        other.exec('BEGIN IMMEDIATE');
        const startedAt = performance.now();
        for (let sent = 0; sent < 3; sent++) expect((await app.get('/me', token)).status, `sent ${sent}`).toBe(200);
        expect((await app.login(user.username)).status).toBe(503);
        // Without this, the driver would wait for 5 s, and no request would be answered meanwhile.
        expect(performance.now() - startedAt).toBeLessThan(3000);
        other.exec('ROLLBACK');
        other.close();
        expect((await app.login(user.username)).status).toBe(200);
        await lastUseOf(app, token);
        expect(await lastUseOf(app, token)).toBe(isoNow(app));
      });
    },
    ['sqlite'],
  );
});

describe('The option idle', () => {
  onEveryDatabase((environment) => {
    it('expires a token that was not used for that long, and no token that was used', async () => {
      const app = await environment.boot({ options: { idle: '1h' } });
      const [used, unused] = [await app.token(), await app.token()];
      for (let times = 0; times < 5; times++) {
        app.clock.advance(HOUR_MS / 2);
        expect((await app.get('/me', used)).status, `use ${times}`).toBe(200);
        await app.usesWritten();
      }
      const { status, json } = await app.get('/me', unused);
      expect(status).toBe(401);
      expect(json.code).toBe('token_expired');
      app.clock.advance(HOUR_MS - 1);
      expect((await app.get('/auth/token', used)).json.expiresAt).toBe(new Date(app.clock.now + 1).toISOString());
      app.clock.advance(HOUR_MS);
      expect((await app.get('/me', used)).json.code).toBe('token_expired');
    });

    it('starts again when an obtained token is renewed', async () => {
      const app = await environment.boot({ options: { idle: '1h', secret: 's'.repeat(32), obtain: 'renew' } });
      const user = await app.createUser();
      const { plainText } = await app.tokens.obtain(user.id);
      await app.get('/me', plainText);
      await app.usesWritten();
      app.clock.advance(HOUR_MS - 1);
      expect((await app.tokens.obtain(user.id)).plainText).toBe(plainText);
      app.clock.advance(HOUR_MS - 1);
      expect((await app.get('/me', plainText)).status).toBe(200);
    });

    it('does not extend the lifespan, and is reflected in the response of the login', async () => {
      const app = await environment.boot({ options: { idle: '1h', lifespan: '90m' } });
      const user = await app.createUser();
      const { plainText, token } = await app.tokens.issue(user.id);
      expect(app.tokens.expiryOf(token)).toEqual(new Date(app.clock.now + HOUR_MS));
      app.clock.advance(HOUR_MS - 1);
      expect((await app.get('/me', plainText)).status).toBe(200);
      expect(await app.tokens.list(user.id)).toHaveLength(1);
      app.clock.advance(HOUR_MS / 2 + 1);
      expect((await app.get('/me', plainText)).json.code).toBe('token_expired');
      expect(await app.tokens.list(user.id)).toEqual([]);
    });
  });
});
