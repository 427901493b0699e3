import { Agent } from 'node:http';
import { createRequire } from 'node:module';
import { connect, type Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { Injectable } from '@nestjs/common';
import { EventEmitter2, EventEmitterModule } from '@nestjs/event-emitter';
import { ExpiringTokenModule, type UserStore } from 'nestjs-expiring-token';
import { QueryFailedError } from 'typeorm';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Database } from '../../lib/database/database.js';
import { DATABASE } from '../../lib/expiring-token.constants.js';
import { warnings, onEveryDatabase, onEveryEnvironment, PASSWORD, TestEnvironment } from '../fixtures/app.js';
import { AppProcess, type RemoteApp } from '../fixtures/app-process.js';
import { figure } from '../fixtures/figures.js';
import { bearer, rawRequest, request } from '../fixtures/http.js';
import { extent, tally } from '../fixtures/iterations.js';
import { burst, longestMs, milliseconds, oneByOne, p99Ms, pace, sample, statuses } from '../fixtures/load.js';
import { onEverySharedDatabase, type SharedDatabase } from '../fixtures/shared-database.js';

const LONGEST_REPLY_MS = 2250;
const MIB = 2 ** 20;

describe('Two applications whose clocks are two minutes apart', () => {
  const SKEW_MS = 120_000;
  const LIFESPAN_MS = 600_000;
  const TOKENS = 1000;
  let processes: AppProcess[];
  beforeAll(async () => {
    processes = await Promise.all([AppProcess.start(), AppProcess.start()]);
  });
  afterAll(() => Promise.all(processes.map((process) => process.stop())));

  onEverySharedDatabase((database) => {
    it('both accept fresh tokens immediately, and disagree on the expiry by no more than that', async (context) => {
      const apps = (await database.serve(processes, { lifespan: LIFESPAN_MS })) as [RemoteApp, RemoteApp];
      const [user] = (await database.createUsers(1)) as [string];
      /** The first clock shows this, the second one two minutes more. */
      const setClocks = (at: number) =>
        Promise.all(processes.map((process, index) => process.setClock({ at: at + index * SKEW_MS })));
      const accepts = async (token: string) =>
        (await Promise.all(apps.map((app) => app.get('/me', token)))).map(({ status }) => status === 200);
      const now = Date.parse('2026-11-24T12:00:00Z');
      await setClocks(now);
      let rejected = 0;
      for (const app of apps) {
        const issued = await app.crowd<{ plainText: string }>(TOKENS / 2, 'issue', user);
        for (const { result } of issued) rejected += (await accepts(result!.plainText)).filter((is) => !is).length;
      }
      expect(rejected).toBe(0);
      for (const [index, app] of apps.entries()) {
        await setClocks(now);
        const { plainText } = await app.call<{ plainText: string }>('tokens', 'issue', user);
        const end = now + index * SKEW_MS + LIFESPAN_MS;
        await setClocks(end - SKEW_MS - 1);
        expect(await accepts(plainText)).toEqual([true, true]);
        await setClocks(end - SKEW_MS);
        expect(await accepts(plainText)).toEqual([true, false]);
        await setClocks(end - 1);
        expect(await accepts(plainText)).toEqual([true, false]);
        await setClocks(end);
        expect(await accepts(plainText)).toEqual([false, false]);
      }
      figure(context, {
        fault: 'F17',
        on: database.name,
        pass: '0 of 1,000 fresh tokens refused; end-of-life disagreement ≤ 121 s',
        ours: `${rejected} of ${TOKENS} refused by either; 120 s`,
      });
      await Promise.all(apps.map((app) => app.close()));
    });
  });
});

describe('Tokens that nobody issued', () => {
  const INVENTED = extent({ usual: 300_000, soak: 1_000_000 });

  onEverySharedDatabase(
    (database) => {
      it('leave nothing behind in the process', { timeout: 240_000 }, async (context) => {
        const process = await AppProcess.start();
        const [app] = (await database.serve([process], {})) as [RemoteApp];
        // The heap grows to what the work at hand needs, and no more after that.
        await app.invent(100_000, false);
        await app.invent(100_000, true);
        const malformed = await app.invent(INVENTED, false);
        const unknown = await app.invent(INVENTED / 10, true);
        expect(malformed.codes).toEqual({ token_invalid: INVENTED });
        expect(unknown.codes).toEqual({ token_invalid: INVENTED / 10 });
        expect(malformed.grownBytes).toBeLessThanOrEqual(32 * MIB);
        expect(unknown.grownBytes).toBeLessThanOrEqual(32 * MIB);
        const grown = (bytes: number) => `${(bytes / MIB).toFixed(1)} MiB`;
        figure(context, {
          fault: 'F22',
          on: database.name,
          pass: 'the process grows by ≤ 32 MiB',
          ours: `${grown(malformed.grownBytes)} by ${INVENTED} malformed, ${grown(unknown.grownBytes)} by ${INVENTED / 10} unknown`,
        });
        await process.stop();
      });
    },
    ['sqlite'],
  );
});

describe('Two hundred simultaneous logins', () => {
  onEveryDatabase((environment) => {
    it('leave guarded routes answering', async (context) => {
      const app = await environment.boot();
      const { username } = await app.createUser();
      const token = await app.token();
      const ask = () => app.get('/me', token);
      const idle = await burst(200, 1, ask);
      const body = { username, password: PASSWORD };
      const started = performance.now();
      const logins = burst(200, 200, () => app.send('/auth/login', { method: 'POST', body, timeoutMs: 100_000 }));
      const during = await oneByOne(logins, ask);
      const totalMs = performance.now() - started;
      expect(statuses(await logins)).toBe('200 × 200');
      expect(statuses(during)).toBe(`${during.length} × 200`);
      expect(p99Ms(during)).toBeLessThan(totalMs / 10);
      figure(context, {
        fault: 'F21',
        on: environment.databaseName,
        pass: 'p99 of guarded routes a small part of the time that the logins take',
        ours: `p99 ${milliseconds(p99Ms(idle))} idle, ${milliseconds(p99Ms(during))} during ${milliseconds(totalMs)} of logins`,
      });
    });
  });
});

describe('Code of the application that hangs or throws', () => {
  onEveryEnvironment(
    (environment) => {
      it('delays no answer where it listens, and is answered 503 in time where it is the store', async (context) => {
        const app = await environment.boot({
          options: { refresh: { grace: 0 } },
          imports: [EventEmitterModule.forRoot()],
        });
        app.nest.get(EventEmitter2).on('expiring-token.reused', () => new Promise(() => undefined));
        app.nest.get(EventEmitter2).on('expiring-token.reused', () => {
          throw new Error('a listener that throws');
        });
        const { refreshToken } = (await app.login((await app.createUser()).username)).json;
        await app.post('/auth/refresh', { refreshToken });
        const reused = await sample(() => app.post('/auth/refresh', { refreshToken }));
        expect(reused).toMatchObject({ status: 401, answer: { json: { code: 'refresh_invalid' } } });
        expect(reused.durationMs).toBeLessThan(1000);

        @Injectable()
        class HangingUsers implements UserStore<{ id: string }> {
          findById = () => new Promise<never>(() => undefined);
          validateCredentials = async () => ({ id: '1' });
          getId = ({ id }: { id: string }) => id;
        }
        const hanging = await environment.boot({
          module: [ExpiringTokenModule.forRoot({ users: HangingUsers, prune: false })],
        });
        const { plainText } = await hanging.tokens.issue('1');
        const hung = await sample(() => hanging.get('/me', plainText));
        expect(hung).toMatchObject({ status: 503, retryAfter: '1' });
        expect(hung.durationMs).toBeLessThanOrEqual(LONGEST_REPLY_MS);
        figure(context, {
          fault: 'F24',
          on: `${environment.databaseName}, ${environment.adapterName}`,
          pass: 'listeners change no answer; a store that hangs is 503 within 2.25 s',
          ours: `401 after ${milliseconds(reused.durationMs)} with listeners that throw and hang; 503 after ${milliseconds(hung.durationMs)}`,
        });
      });
    },
    { databases: ['sqlite'] },
  );
});

describe('A replica that lags behind for ever', () => {
  onEveryDatabase(
    (environment) => {
      it('is never asked: what was just issued is accepted, what was just revoked is not', async (context) => {
        const replica = new TestEnvironment('postgres', 'express');
        await replica.open();
        await replica.boot();
        const app = await environment.boot({
          typeOrm: {
            url: undefined,
            replication: { master: { url: environment.url }, slaves: [{ url: replica.url }] },
          },
        });
        const { id } = await app.createUser();
        const seen: number[] = [];
        for (let round = 0; round < 100; round++) {
          const { plainText, token } = await app.tokens.issue(id);
          seen.push((await app.get('/me', plainText)).status);
          await app.tokens.revoke(id, token.deviceId);
          seen.push((await app.get('/me', plainText)).status);
        }
        expect(tally(seen)).toEqual({ 200: 100, 401: 100 });
        figure(context, {
          fault: 'F25',
          on: 'postgres',
          pass: 'issued 100 of 100 accepted, revoked 0 of 100',
          ours: '100 of 100 accepted, 0 of 100',
        });
        await app.nest.close();
        await replica.close();
      });
    },
    ['postgres'],
  );
});

describe('SIGTERM with a hundred requests in flight', () => {
  /** Keeps requests waiting until it is told to let them go. */
  async function obstruct(database: SharedDatabase): Promise<() => Promise<void>> {
    if (database.name === 'sqlite') {
      const Driver = createRequire(import.meta.url)(process.env.TEST_SQLITE_DRIVER ?? 'libsql');
      const other = new Driver((database.source.options as { database: string }).database);
      other.exec('BEGIN IMMEDIATE');
      return async () => other.exec('ROLLBACK');
    }
    const runner = database.source.createQueryRunner();
    const [begin, end] = {
      postgres: [['BEGIN', 'LOCK TABLE auth_token IN ACCESS EXCLUSIVE MODE'], 'ROLLBACK'],
      mariadb: [['LOCK TABLES auth_token WRITE'], 'UNLOCK TABLES'],
    }[database.name] as [string[], string];
    for (const sql of begin) await runner.query(sql);
    return async () => {
      await runner.query(end);
      await runner.release();
    };
  }

  onEverySharedDatabase((database) => {
    it.for(['express', 'fastify'] as const)(
      'answers them all and ends within a second, on %s',
      async (adapter, context) => {
        const process = await AppProcess.start();
        const [app] = (await database.serve([process], { refresh: {} }, {}, { adapter })) as [RemoteApp];
        const users = await database.createUsers(100);
        await app.login(users[0]!);
        const before = await process.received();
        const letGo = await obstruct(database);
        // On connections of their own: Fastify waits for those that clients keep open.
        const agent = new Agent();
        const answers = burst(100, 100, () =>
          app.send('/auth/login', { method: 'POST', body: { username: users.pop()!, password: 'any' }, agent }),
        );
        while ((await process.received()) < before + 100);
        const ended = process.terminate();
        await letGo();
        expect(statuses(await answers)).toBe('100 × 200');
        const answered = performance.now();
        expect(await ended).toBe('SIGTERM');
        const endedMs = performance.now() - answered;
        expect(endedMs).toBeLessThanOrEqual(1000);
        expect(process.log).toBe('');
        figure(context, {
          fault: 'F26',
          on: `${database.name}, ${adapter}`,
          pass: 'all answered; the process ends within 1 s',
          ours: `100 of 100 answered, ended ${milliseconds(endedMs)} after the last`,
        });
      },
    );
  });
});

describe('Tables that are not as they should be', () => {
  const alter = (table: string, column: string, type: string) => ({
    sqlite: [`ALTER TABLE ${table} DROP COLUMN ${column}`, `ALTER TABLE ${table} ADD COLUMN ${column} ${type}`],
    postgres: [`ALTER TABLE ${table} ALTER COLUMN ${column} TYPE ${type} USING NULL`],
    mariadb: [`ALTER TABLE ${table} MODIFY ${column} ${type}`],
  });

  onEveryDatabase((environment) => {
    const boot = () => environment.boot({ typeOrm: { synchronize: false } });
    const change = async (statements: readonly string[]) => {
      const app = await boot();
      for (const sql of statements) await app.dataSource.query(sql);
      await environment.closeApplications();
    };

    it('stop the start where a column is missing or of another type, naming it', async (context) => {
      await environment.boot();
      await environment.closeApplications();
      const type = environment.databaseName === 'mariadb' ? 'datetime' : 'timestamp';
      await change(alter('auth_token', 'last_used_at', type)[environment.databaseName]);
      await expect(boot()).rejects.toThrow(/tokenEntity: table \S*auth_token has the column last_used_at of type/);
      await expect(boot()).rejects.toThrow('Run the migrations');
      await environment.closeApplications();
      const synchronized = await environment.boot();
      await synchronized.dataSource.query('ALTER TABLE auth_token DROP COLUMN name');
      await environment.closeApplications();
      await expect(boot()).rejects.toThrow(/auth_token has no column name/);
      await environment.closeApplications();
      figure(context, {
        fault: 'F27',
        on: environment.databaseName,
        pass: 'an error at the start that names the column; a missing table 503, never 401',
        ours: 'both named; 503 until the table is there',
      });
    });

    it('are answered 503 while one is missing, and used as soon as it is there', async () => {
      const app = await environment.boot();
      const { username } = await app.createUser();
      const token = (await app.login(username)).json.token;
      await app.dataSource.query('ALTER TABLE auth_token RENAME TO away');
      warnings.length = 0;
      const late = await boot();
      expect(warnings.join('\n')).toMatch(/Table \S*auth_token does not exist/);
      for (const answer of [await late.get('/me', token), await late.login(username)]) {
        expect(answer).toMatchObject({ status: 503, json: { code: 'unavailable' }, headers: { 'retry-after': '1' } });
      }
      await app.dataSource.query('ALTER TABLE away RENAME TO auth_token');
      expect((await late.get('/me', token)).status).toBe(200);
    });
  });
});

describe('A statement that fails', () => {
  afterEach(() => vi.restoreAllMocks());

  onEveryEnvironment(
    (environment) => {
      it('is answered 503 wherever it is, and neither answers nor logs hold what it was given', async (context) => {
        const SENTINEL = 'sentinel-of-a-value';
        const app = await environment.boot({ options: { refresh: {} } });
        const { username } = await app.createUser();
        const { token, refreshToken, deviceId } = (await app.login(username)).json;
        const database = app.nest.get<Database>(DATABASE);
        const failure = Object.assign(new QueryFailedError(`SELECT '${SENTINEL}'`, [SENTINEL], new Error('no luck')), {
          sql: SENTINEL,
          detail: SENTINEL,
          where: SENTINEL,
        });
        const requests = {
          me: () => app.get('/me', token),
          token: () => app.get('/auth/token', token),
          devices: () => app.get('/auth/devices', token),
          rename: () =>
            app.send(`/auth/devices/${deviceId}`, { method: 'PATCH', body: { name: 'x' }, headers: bearer(token) }),
          refresh: () => app.post('/auth/refresh', { refreshToken }),
          login: () => app.login(username),
          obtain: () => app.post('/auth/obtain-token', { username, password: PASSWORD }),
          logoutAll: () => app.post('/auth/logout-all', { keepCurrent: true }, token),
          logout: () => app.post('/auth/logout', undefined, token),
        };
        const ways = ['read', 'readEntities', 'transaction'] as const;
        warnings.length = 0;
        let failures = 0;
        for (const [name, ask] of Object.entries(requests)) {
          for (const way of ways) {
            // Each use of it fails in turn, until a request has no further one.
            for (let place = 1; ; place++) {
              let uses = 0;
              const original = database[way].bind(database) as (...given: unknown[]) => Promise<never>;
              vi.spyOn(database, way).mockImplementation(async (...given: unknown[]) => {
                if (++uses === place) throw failure;
                return original(...given);
              });
              const { status, text } = await ask();
              vi.restoreAllMocks();
              if (uses < place) break;
              failures++;
              expect([name, way, place, status]).toEqual([name, way, place, 503]);
              expect(text).not.toContain(SENTINEL);
              expect(text).not.toContain('no luck');
            }
          }
        }
        expect(failures).toBeGreaterThan(10);
        expect(warnings.filter((line) => line.includes('Answering 503')).length).toBeGreaterThanOrEqual(failures);
        for (const secret of [SENTINEL, token, refreshToken, PASSWORD])
          expect(warnings.join('\n')).not.toContain(secret);
        figure(context, {
          fault: 'F28',
          on: `${environment.databaseName}, ${environment.adapterName}`,
          pass: '503; nothing of the statement in answers and logs',
          ours: `${failures} uses of the database failed in turn: ${failures} × 503, 0 values shown`,
        });
      });
    },
    { databases: ['sqlite', 'postgres'] },
  );
});

describe('An event loop that the application holds up for two seconds and more', () => {
  onEverySharedDatabase((database) => {
    it('costs no request its answer, whose time limit ends meanwhile', async (context) => {
      const process = await AppProcess.start();
      const [app] = (await database.serve([process], { refresh: {}, timeout: '2s' })) as [RemoteApp];
      const [user] = (await database.createUsers(1)) as [string];
      const { token, refreshToken } = (await app.login(user)).json;
      const asked = burst(200, 20, () => app.get('/me', token));
      const stalls = (async () => {
        for (let round = 0; round < 2; round++) await process.stall(2500);
      })();
      const samples = [...(await asked), await sample(() => app.refresh(refreshToken))];
      await stalls;
      expect(statuses(samples)).toBe('201 × 200');
      figure(context, {
        fault: 'F29',
        on: database.name,
        pass: '0 × 401 by 2 s of a standing event loop',
        ours: `${statuses(samples)}, longest ${milliseconds(longestMs(samples))}`,
      });
      await process.stop();
    });
  });
});

describe('Clients that send slowly, too much, or too well packed', () => {
  onEverySharedDatabase(
    (database) => {
      it.for(['express', 'fastify'] as const)('hold up no other one, on %s', async (adapter, context) => {
        const process = await AppProcess.start();
        const [app] = (await database.serve([process], {}, {}, { adapter })) as [RemoteApp];
        const [user] = (await database.createUsers(1)) as [string];
        const { token } = (await app.login(user)).json;
        const ask = () => app.get('/me', token);
        await pace(50, wait(1000), ask);
        const idle = await pace(50, wait(4000), ask);
        const { hostname, port } = new URL(app.origin);
        const head =
          'POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{';
        const slow: Socket[] = Array.from({ length: 200 }, () => {
          const socket = connect(Number(port), hostname, () => socket.write(head));
          return socket.on('error', () => undefined);
        });
        const bomb = gzipSync(Buffer.alloc(5 * MIB, 0x20));
        const attack = async (over: Promise<unknown>) => {
          const answers: number[] = [];
          await pace(10, over, async () => {
            for (const socket of slow) socket.write(' ');
            const lines = 'X-Header: x\r\n'.repeat(2100);
            const many = await rawRequest(
              app.origin,
              `GET /me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${lines}\r\n`,
            );
            const packed = await request(app.origin, '/auth/login', {
              method: 'POST',
              rawBody: bomb,
              headers: [
                ['Content-Type', 'application/json'],
                ['Content-Encoding', 'gzip'],
              ],
            });
            answers.push(many.status, packed.status);
            return packed;
          });
          return tally(answers);
        };
        const over = wait(4000);
        const [during, answers] = await Promise.all([pace(50, over, ask), attack(over)]);
        for (const socket of slow) socket.destroy();
        expect(statuses(during)).toBe(`${during.length} × 200`);
        for (const status of Object.keys(answers)) expect(['400', '401', '413', '415', '431']).toContain(status);
        // Who attacks and who measures share one process here: what that costs is not the server's.
        expect(p99Ms(during)).toBeLessThanOrEqual(Math.max(2 * p99Ms(idle), 100));
        figure(context, {
          fault: 'F30',
          on: `${database.name}, ${adapter}`,
          pass: 'p99 of other clients ≤ 2 × idle, or 100 ms; 4xx',
          ours: `p99 ${milliseconds(p99Ms(idle))} idle, ${milliseconds(p99Ms(during))} during; attackers were answered ${Object.keys(answers).join(', ')}`,
        });
        await process.stop();
      });
    },
    ['sqlite'],
  );
});
