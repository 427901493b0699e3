import { type IssuedPair, Token } from 'nestjs-expiring-token';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { LoggedIn } from '../../lib/tokens/token.interfaces.js';
import { TokenPruner } from '../../lib/tokens/token.pruner.js';
import { TokenStore } from '../../lib/tokens/token.store.js';
import { onEveryDatabase, type TestApp } from '../fixtures/app.js';
import { AppProcess, type RemoteApp } from '../fixtures/app-process.js';
import { figure } from '../fixtures/figures.js';
import { forEach, ITERATIONS, PATIENCE_MS, tally } from '../fixtures/iterations.js';
import { DROP_HEADER } from '../fixtures/processes/protocol.js';
import { onEverySharedDatabase } from '../fixtures/shared-database.js';

const LANES = 8;
const SECRET = 'a secret of thirty-two bytes, or more';
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

const turnOfTheEventLoop = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('With another process on the same database', () => {
  let processes: AppProcess[];
  beforeAll(async () => {
    processes = await Promise.all([AppProcess.start(), AppProcess.start()]);
  });
  afterAll(async () => {
    await Promise.all(processes.map((process) => process.stop()));
  });
  afterEach(async () => {
    await Promise.all(processes.map((process) => process.setClock({ offset: 0 })));
  });

  onEverySharedDatabase((database) => {
    it(
      'a refresh whose response was lost gets the same pair from the other process',
      { timeout: PATIENCE_MS },
      async (context) => {
        const [one, two] = (await database.serve(processes, { refresh: {} })) as [RemoteApp, RemoteApp];
        const users = await database.createUsers(ITERATIONS);
        const pairs = new Map<string, { token: string; refreshToken: string }>();
        await forEach(users, LANES, async (user) => {
          const { refreshToken } = (await one.login(user)).json;
          await expect(one.refresh(refreshToken, [[DROP_HEADER, 'yes']])).rejects.toThrow('socket hang up');
          const { status, json } = await two.refresh(refreshToken);
          expect(status).toBe(200);
          expect((await two.get('/me', json.token)).status).toBe(200);
          pairs.set(json.deviceId, { token: json.token, refreshToken: json.refreshToken });
          expect(await database.count(user)).toEqual({ access: 2, refresh: 1, rotated: 1 });
        });
        const lost = await processes[0]!.dropped();
        expect(new Map(lost.map(({ deviceId, token, refreshToken }) => [deviceId, { token, refreshToken }]))).toEqual(
          pairs,
        );
        figure(context, {
          fault: 'F15',
          on: database.name,
          pass: 'the same pair again, one new row',
          ours: `${pairs.size} of ${ITERATIONS} retries got the lost pair, 1 new refresh row each`,
        });
        await Promise.all([one.close(), two.close()]);
      },
    );

    it(
      'two simultaneous sweeps beside renewals delete each expired token once',
      { timeout: PATIENCE_MS },
      async (context) => {
        const EXPIRED = 20;
        const options = { secret: SECRET, obtain: 'renew', idle: '30d', prune: { batch: 3 } } as const;
        const apps = (await database.serve(processes, options)) as [RemoteApp, RemoteApp];
        const [expired, ...renewing] = (await database.createUsers(4)) as [string, ...string[]];
        const tokens = new Map<string, string>();
        for (const user of renewing) tokens.set(user, (await apps[0].obtain(user)).json.token);
        const shares: number[] = [];
        for (let round = 0; round < ITERATIONS; round++) {
          await database.insertTokens(expired, EXPIRED, new Date(Date.now() - 60 * DAY_MS));
          const [swept, ...answers] = await Promise.all([
            Promise.all(apps.map((app) => app.call<number>('tokens', 'prune'))),
            ...renewing.map((user, index) => apps[index % 2]!.obtain(user)),
          ]);
          expect(swept[0]! + swept[1]!).toBe(EXPIRED);
          shares.push(swept[0]!);
          expect(answers.map(({ json }) => json.token)).toEqual([...tokens.values()]);
        }
        expect(await database.countOf(expired)).toBe(0);
        for (const [user, token] of tokens) {
          expect((await apps[1].get('/me', token)).status).toBe(200);
          expect(await database.count(user)).toEqual({ obtained: 1 });
        }
        const shared = shares.filter((share) => share > 0 && share < EXPIRED).length;
        figure(context, {
          fault: 'F20',
          on: database.name,
          pass: 'each expired row deleted and counted once',
          ours: `${ITERATIONS * EXPIRED} of ${ITERATIONS * EXPIRED} expired rows deleted and counted once, 0 errors, 0 of ${renewing.length} renewed tokens lost; both had a share in ${shared} of ${ITERATIONS} rounds`,
        });
        await Promise.all(apps.map((app) => app.close()));
      },
    );

    it('a clock that is set forward and back makes no recorded time run backwards', async (context) => {
      const STEPS = [0, HOUR_MS, 0, -HOUR_MS, 0, -10 * MINUTE_MS, 0] as const;
      const options = { lifespan: '90m', refresh: { idle: '7d' }, lastUsedAccuracy: 1, secret: SECRET } as const;
      const [one, two] = (await database.serve(processes, options)) as [RemoteApp, RemoteApp];
      const seconds: number[] = [];
      const lastUses: number[] = [];
      const [user] = await database.createUsers(1);
      const login = (await one.login(user!)).json;
      let { refreshToken } = login;
      for (const offset of STEPS) {
        await Promise.all(processes.map((process) => process.setClock({ offset })));
        const answers = [await one.login(user!), await two.obtain(user!), await one.refresh(refreshToken)];
        // Repeats the refresh within the grace.
        answers.push(await two.refresh(refreshToken));
        for (const { status, json } of answers) {
          expect(status, `clock set by ${offset} ms`).toBe(200);
          expect(json.expiresIn, `clock set by ${offset} ms`).toBeGreaterThanOrEqual(0);
          expect(json.refreshExpiresIn ?? 0, `clock set by ${offset} ms`).toBeGreaterThanOrEqual(0);
          seconds.push(json.expiresIn);
        }
        expect(answers[3]!.json, `clock set by ${offset} ms`).toMatchObject({
          refreshToken: answers[2]!.json.refreshToken,
        });
        refreshToken = answers[2]!.json.refreshToken;
        const devices = await two.call<{ id: string; lastUsedAt: string }[]>('tokens', 'list', user);
        lastUses.push(Date.parse(devices.find(({ id }) => id === login.deviceId)!.lastUsedAt));
      }
      expect(lastUses).toEqual(lastUses.toSorted((a, b) => a - b));
      figure(context, {
        fault: 'F16',
        on: database.name,
        pass: 'no recorded time runs backwards, neither more nor fewer sweeps',
        ours: `expiresIn between ${Math.min(...seconds)} and ${Math.max(...seconds)} s, last use never moved back over ${STEPS.length} steps`,
      });
      await Promise.all([one.close(), two.close()]);
    });
  });
});

describe('A system clock that is set', () => {
  afterEach(() => vi.useRealTimers());

  onEveryDatabase((environment) => {
    it('causes neither more nor fewer sweeps: they depend on the time that passes', async (context) => {
      // Fakes only the timers of the package. What the drivers wait for still happens.
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      const app = await environment.boot({ options: { prune: { every: '1h' } } });
      const sweeps = vi.spyOn(app.nest.get(TokenStore), 'nextLifespan');
      const background = app.nest.get(TokenPruner)['sweeping'];
      /** Lets time pass, and waits until the sweep that this starts has ended. */
      const pass = async (milliseconds: number) => {
        vi.advanceTimersByTime(milliseconds);
        await background['running'];
        return sweeps.mock.calls.filter(([purpose]) => purpose === 'access').length;
      };
      const counts = [await pass(MINUTE_MS)];
      for (const step of [HOUR_MS, -HOUR_MS, -10 * MINUTE_MS, 30 * DAY_MS]) {
        app.clock.advance(step);
        counts.push(await pass(0), await pass(HOUR_MS - 2 * MINUTE_MS), await pass(2 * MINUTE_MS));
      }
      expect(counts).toEqual([1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5]);
      figure(context, {
        fault: 'F16',
        on: environment.databaseName,
        pass: 'no recorded time runs backwards, neither more nor fewer sweeps',
        ours: `${counts.at(-1)} sweeps in 4 h 1 min, whatever time the clock showed`,
      });
      vi.useRealTimers();
    });
  });
});

describe('Processes in different time zones', () => {
  const ZONES = [
    ['UTC', '+00:00'],
    ['America/New_York', '-05:00'],
    ['Asia/Kolkata', '+05:30'],
    // MariaDB supports no session zone beyond +13:00.
    ['Pacific/Kiritimati', '+13:00'],
  ] as const;
  /** Before and after both changes of New York's clocks, and an ordinary instant. */
  const INSTANTS = [
    '2026-03-08T06:59:59.999Z',
    '2026-03-08T07:00:00.001Z',
    '2026-11-01T05:30:00.123Z',
    '2030-01-02T03:04:05.678Z',
  ];
  const LIFESPAN_MS = 1000;

  let processes: AppProcess[];
  beforeAll(async () => {
    processes = await Promise.all(ZONES.map(([zone]) => AppProcess.start({ TZ: zone })));
  });
  afterAll(async () => {
    await Promise.all(processes.map((process) => process.stop()));
  });

  onEverySharedDatabase((database) => {
    it('and database sessions in these zones agree on each millisecond', { timeout: PATIENCE_MS }, async (context) => {
      const apps: RemoteApp[] = [];
      for (const [index, [zone, offset]] of ZONES.entries()) {
        const session = {
          sqlite: {},
          postgres: { extra: { options: `-c TimeZone=${zone}` } },
          mariadb: { timezone: offset, extra: { connectionLimit: 1 } },
        };
        const options = { lifespan: LIFESPAN_MS, refresh: { lifespan: LIFESPAN_MS, idle: LIFESPAN_MS } };
        const [app] = await database.serve([processes[index]!], options, session[database.name]);
        if (database.name === 'mariadb') await app!.query(`SET time_zone = '${offset}'`);
        apps.push(app!);
      }
      const setClocks = (at: number) => Promise.all(processes.map((process) => process.setClock({ at })));
      const [user] = await database.createUsers(1);
      let checked = 0;
      const differences: number[] = [];
      for (const instant of INSTANTS) {
        const created = Date.parse(instant);
        await setClocks(created);
        const issued = await Promise.all(apps.map((app) => app.login(user!)));
        for (const { json } of issued) {
          expect(Date.parse(json.expiresAt), instant).toBe(created + LIFESPAN_MS);
          expect(Date.parse(json.refreshExpiresAt), instant).toBe(created + LIFESPAN_MS);
        }
        await setClocks(created + LIFESPAN_MS - 1);
        for (const app of apps) {
          const answers = await Promise.all(issued.map(({ json }) => app.get('/auth/token', json.token)));
          for (const { status, json } of answers) {
            expect(status, instant).toBe(200);
            differences.push(Date.parse(json.createdAt) - created, Date.parse(json.expiresAt) - created - LIFESPAN_MS);
            checked++;
          }
        }
        await setClocks(created + LIFESPAN_MS);
        for (const app of apps) {
          const answers = await Promise.all(
            issued.flatMap(({ json }) => [app.get('/auth/token', json.token), app.refresh(json.refreshToken)]),
          );
          expect(tally(answers.map(({ json }) => json.code)), instant).toEqual({
            token_expired: 4,
            refresh_invalid: 4,
          });
        }
      }
      expect(new Set(differences)).toEqual(new Set([0]));
      figure(context, {
        fault: 'F18',
        on: database.name,
        pass: 'the same millisecond everywhere',
        ours: `difference 0 ms in ${checked} of ${checked}: issued in each zone, checked in each zone`,
      });
      await Promise.all(apps.map((app) => app.close()));
    });
  });
});

describe('A deadlock at every fifth write', () => {
  /** Makes the server reject some statements that write, as it does with one of two transactions that wait for each other. */
  async function injectDeadlocks({ dataSource }: TestApp, name: 'postgres' | 'mariadb') {
    const seen = { writes: 0, injected: 0, transactions: 0 };
    const isHit = (statement: unknown) => {
      const sql = (statement as { text?: unknown }).text ?? statement;
      if (typeof sql !== 'string') return false;
      if (/^(BEGIN|START TRANSACTION)/.test(sql)) seen.transactions++;
      if (!/^(INSERT|UPDATE|DELETE)/.test(sql) || ++seen.writes % 5 !== 0) return false;
      seen.injected++;
      return true;
    };
    // The only connection of the pool.
    const runner = dataSource.createQueryRunner();
    const connection = await runner.connect();
    const query = connection.query.bind(connection);
    if (name === 'postgres') {
      const deadlock = "DO $$ BEGIN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END $$";
      connection.query = (sql: unknown, ...rest: unknown[]) => (isHit(sql) ? query(deadlock) : query(sql, ...rest));
    } else {
      const deadlock = "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'Deadlock found'";
      const execute = connection.execute.bind(connection);
      connection.query = (sql: unknown, ...rest: unknown[]) => {
        isHit(sql);
        return query(sql, ...rest);
      };
      connection.execute = (sql: unknown, values: unknown, done: unknown) => {
        if (!isHit(sql)) return execute(sql, values, done);
        // When InnoDB reports a deadlock, it has already rolled back the transaction.
        return query('ROLLBACK', () => query(deadlock, done));
      };
    }
    await runner.release();
    return seen;
  }

  onEveryDatabase(
    (environment) => {
      it(
        'is retried with success in at most three attempts, and nothing is done twice',
        { timeout: PATIENCE_MS },
        async (context) => {
          const app = await environment.boot({
            options: { refresh: {}, secret: SECRET, obtain: 'renew', lastUsedAccuracy: 1, prune: false },
            typeOrm: { extra: environment.databaseName === 'postgres' ? { max: 1 } : { connectionLimit: 1 } },
          });
          const { tokens, users } = app;
          const owners: string[] = [];
          for (let index = 0; index < ITERATIONS; index++) owners.push((await users.create(`user ${index}`, null)).id);
          const seen = await injectDeadlocks(app, environment.databaseName as 'postgres' | 'mariadb');
          const attempts: number[] = [];
          const attempting = async <T>(work: () => Promise<T>): Promise<T> => {
            const before = seen.transactions;
            const result = await work();
            attempts.push(seen.transactions - before);
            return result;
          };
          const countsOf = async (userId: string) => {
            await app.usesWritten();
            const rows = await app.dataSource.getRepository(Token).findBy({ userId });
            return tally(rows.map(({ purpose }) => purpose));
          };
          for (const user of owners) {
            const { access, refresh } = await attempting(() => tokens.logIn(user));
            expect(await countsOf(user)).toEqual({ access: 1, refresh: 1 });
            const pair = await attempting(() => tokens.refresh(refresh!.plainText));
            expect(await countsOf(user)).toEqual({ access: 2, refresh: 1, rotated: 1 });
            const obtained = await attempting(() => tokens.obtain(user));
            expect((await attempting(() => tokens.obtain(user))).plainText).toBe(obtained.plainText);
            expect(await countsOf(user)).toEqual({ access: 2, refresh: 1, rotated: 1, obtained: 1 });
            expect((await attempting(() => tokens.rename(user, access.token.deviceId, 'renamed'))).name).toBe(
              'renamed',
            );
            await tokens.authenticate(pair.access.plainText);
            expect(await attempting(() => users.setActive(user, false))).toBe(true);
            expect(await attempting(() => users.changePassword(user, null, { except: access.token.deviceId }))).toBe(
              true,
            );
            expect(await countsOf(user)).toEqual({ access: 2, refresh: 1, rotated: 1 });
            expect(await attempting(() => tokens.revoke(user, access.token.deviceId))).toBe(true);
            expect(await countsOf(user)).toEqual({});
          }
          expect(seen.injected).toBeGreaterThan(ITERATIONS);
          expect(Math.max(...attempts)).toBeLessThanOrEqual(3);
          figure(context, {
            fault: 'F23',
            on: environment.databaseName,
            pass: 'none reaches the client, at most three attempts',
            ours: `${seen.injected} deadlocks in ${seen.writes} writes, 0 reached the client, at most ${Math.max(...attempts)} attempts, 0 duplicate rows`,
          });
        },
      );
    },
    ['postgres', 'mariadb'],
  );
});

/** Returns the items in random order. */
function shuffled<T>(items: readonly T[]): T[] {
  const keyed = items.map((item) => ({ item, key: Math.random() }));
  return keyed.toSorted((a, b) => a.key - b.key).map(({ item }) => item);
}

describe('A hundred simultaneous mixed writes on SQLite in one process', () => {
  onEveryDatabase(
    (environment) => {
      it(
        'lose no acknowledged write, even during transactions of the application',
        { timeout: PATIENCE_MS },
        async (context) => {
          const app = await environment.boot({
            options: { refresh: {}, prune: false, timeout: '15s' },
            typeOrm: {
              enableWAL: true,
              prepareDatabase: (handle: { pragma(text: string): void }) => handle.pragma('synchronous = NORMAL'),
            },
          });
          const { tokens, dataSource } = app;
          await dataSource.query('CREATE TABLE note (id varchar PRIMARY KEY)');
          let writes = 0;
          for (let round = 0; round < ITERATIONS; round++) {
            const user = await app.users.create(`user ${round}`, null);
            const devices: LoggedIn[] = [];
            for (let count = 0; count < 40; count++) devices.push(await tokens.logIn(user.id));
            const [refreshing, revoking, renaming] = [devices.slice(0, 15), devices.slice(15, 30), devices.slice(30)];
            const committed: string[] = [];
            // TypeORM has one SQLite connection, on which even the application's own transactions must not overlap.
            let transactions: Promise<unknown> = Promise.resolve();
            const transact = async (id: string, rollsBack: boolean) => {
              try {
                await dataSource.transaction(async (manager) => {
                  await manager.query('INSERT INTO note VALUES (?)', [id]);
                  await turnOfTheEventLoop();
                  if (rollsBack) throw new RangeError('changed my mind');
                });
                committed.push(id);
              } catch (error) {
                if (!(error instanceof RangeError)) throw error;
              }
            };
            const loggedIn: LoggedIn[] = [];
            const refreshed: IssuedPair[] = [];
            const tasks: (() => Promise<unknown>)[] = [
              ...Array.from({ length: 30 }, () => async () => loggedIn.push(await tokens.logIn(user.id))),
              ...refreshing.map(
                ({ refresh }) =>
                  async () =>
                    refreshed.push(await tokens.refresh(refresh!.plainText)),
              ),
              ...revoking.map(
                ({ access }) =>
                  () =>
                    tokens.revoke(user.id, access.token.deviceId),
              ),
              ...renaming.map(
                ({ access }, index) =>
                  () =>
                    tokens.rename(user.id, access.token.deviceId, `name ${index}`),
              ),
              ...Array.from({ length: 10 }, () => () => tokens.prune()),
              ...Array.from({ length: 20 }, (_, index) => () => {
                transactions = transactions.then(() => transact(`${round} ${index}`, index % 2 === 0));
                return transactions;
              }),
            ];
            writes += tasks.length;
            await Promise.all(shuffled(tasks).map((task) => task()));

            const notes: { id: string }[] = await dataSource.query(`SELECT id FROM note WHERE id LIKE '${round} %'`);
            expect(notes.map(({ id }) => id).toSorted()).toEqual(committed.toSorted());
            expect(committed).toHaveLength(10);
            for (const { access } of [...loggedIn, ...refreshed]) await tokens.authenticate(access.plainText);
            for (const { access } of revoking) {
              await expect(tokens.authenticate(access.plainText)).rejects.toMatchObject({ code: 'token_invalid' });
            }
            const names = new Map((await tokens.list(user.id)).map(({ id, name }) => [id, name]));
            expect(names.size).toBe(loggedIn.length + refreshed.length + renaming.length);
            for (const [index, { access }] of renaming.entries()) {
              expect(names.get(access.token.deviceId)).toBe(`name ${index}`);
            }
          }
          expect(writes).toBe(100 * ITERATIONS);
          figure(context, {
            fault: 'R14',
            on: environment.databaseName,
            pass: 'no write fails or is lost',
            ours: `0 of ${writes} writes failed, 0 acknowledged ones lost (${ITERATIONS} iterations)`,
          });
        },
      );
    },
    ['sqlite'],
  );
});
