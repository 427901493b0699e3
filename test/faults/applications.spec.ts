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

const MAX_REPLY_MS = 2250;
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
    it('both accept new tokens, and disagree on their expiry by no more than these two minutes', async (context) => {
      const apps = (await database.serve(processes, { lifespan: LIFESPAN_MS })) as [RemoteApp, RemoteApp];
      const [user] = (await database.createUsers(1)) as [string];
      /** Sets the clock of the first process to this time, and that of the second one to two minutes later. */
      const setClocks = (at: number) =>
        Promise.all(processes.map((process, index) => process.setClock({ at: at + index * SKEW_MS })));
      const accepts = async (token: string) =>
        (await Promise.all(apps.map((app) => app.get('/me', token)))).map(({ status }) => status === 200);
      const now = Date.parse('2026-11-24T12:00:00Z');
      await setClocks(now);
      let rejected = 0;
      for (const app of apps) {
        const issued = await app.crowd<{ plainText: string }>(TOKENS / 2, 'issue', user);
        for (const { result } of issued) {
          rejected += (await accepts(result!.plainText)).filter((isAccepted) => !isAccepted).length;
        }
      }
      expect(rejected).toBe(0);
      for (const [index, app] of apps.entries()) {
        await setClocks(now);
        const { plainText } = await app.call<{ plainText: string }>('tokens', 'issue', user);
        const end = now + index * SKEW_MS + LIFESPAN_MS;
        await setClocks(end - SKEW_MS - 1);
        expect(
          await accepts(plainText),
          `application ${index}, a millisecond before the expiry by the second clock`,
        ).toEqual([true, true]);
        await setClocks(end - SKEW_MS);
        expect(await accepts(plainText), `application ${index}, at the expiry by the second clock`).toEqual([
          true,
          false,
        ]);
        await setClocks(end - 1);
        expect(
          await accepts(plainText),
          `application ${index}, a millisecond before the expiry by the first clock`,
        ).toEqual([true, false]);
        await setClocks(end);
        expect(await accepts(plainText), `application ${index}, at the expiry by the first clock`).toEqual([
          false,
          false,
        ]);
      }
      figure(context, {
        fault: 'F17',
        on: database.name,
        pass: 'new tokens accepted by both; expiry differs by ≤ 121 s',
        ours: `${TOKENS - rejected} of ${TOKENS} accepted by both; 120 s`,
      });
      await Promise.all(apps.map((app) => app.close()));
    });
  });
});

describe('Tokens that nobody issued', () => {
  const INVENTED = extent({ usual: 300_000, soak: 1_000_000 });

  onEverySharedDatabase(
    (database) => {
      it('do not make the memory of the process grow', { timeout: 240_000 }, async (context) => {
        const process = await AppProcess.start();
        const [app] = (await database.serve([process], {})) as [RemoteApp];
        // The heap first grows to the size that this work needs. Growth after that would be a leak.
        await app.invent(100_000, false);
        await app.invent(100_000, true);
        const malformed = await app.invent(INVENTED, false);
        const unknown = await app.invent(INVENTED / 10, true);
        expect(malformed.codes).toEqual({ token_invalid: INVENTED });
        expect(unknown.codes).toEqual({ token_invalid: INVENTED / 10 });
        expect(malformed.grownBytes).toBeLessThanOrEqual(32 * MIB);
        expect(unknown.grownBytes).toBeLessThanOrEqual(32 * MIB);
        const mebibytes = (bytes: number) => `${(bytes / MIB).toFixed(1)} MiB`;
        figure(context, {
          fault: 'F22',
          on: database.name,
          pass: 'memory grows by ≤ 32 MiB',
          ours: `${mebibytes(malformed.grownBytes)} after ${INVENTED} malformed tokens, ${mebibytes(unknown.grownBytes)} after ${INVENTED / 10} unknown ones`,
        });
        await process.stop();
      });
    },
    ['sqlite'],
  );
});

describe('Two hundred simultaneous logins', () => {
  onEveryDatabase((environment) => {
    it('do not keep guarded routes from answering', async (context) => {
      const app = await environment.boot();
      const { username } = await app.createUser();
      const token = await app.token();
      const sendGuarded = () => app.get('/me', token);
      const idle = await burst(200, 1, sendGuarded);
      const body = { username, password: PASSWORD };
      const started = performance.now();
      const logins = burst(200, 200, () => app.send('/auth/login', { method: 'POST', body, timeoutMs: 100_000 }));
      const during = await oneByOne(logins, sendGuarded);
      const totalMs = performance.now() - started;
      expect(statuses(await logins)).toBe('200 × 200');
      expect(statuses(during)).toBe(`${during.length} × 200`);
      expect(p99Ms(during)).toBeLessThan(totalMs / 10);
      figure(context, {
        fault: 'F21',
        on: environment.databaseName,
        pass: 'guarded requests are served: p99 is a small part of the time that the logins take',
        ours: `p99 ${milliseconds(p99Ms(idle))} idle, ${milliseconds(p99Ms(during))} during ${milliseconds(totalMs)} of logins`,
      });
    });
  });
});

describe('Code of the application that hangs or throws', () => {
  onEveryEnvironment(
    (environment) => {
      it('delays no answer if it is a listener, and is answered 503 in time if it is the user store', async (context) => {
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
        expect(hung.durationMs).toBeLessThanOrEqual(MAX_REPLY_MS);
        figure(context, {
          fault: 'F24',
          on: `${environment.databaseName}, ${environment.adapterName}`,
          pass: 'no response changed by listeners; 503 within 2.25 s if a store hangs',
          ours: `401 after ${milliseconds(reused.durationMs)} with listeners that throw and hang; 503 after ${milliseconds(hung.durationMs)}`,
        });
      });
    },
    { databases: ['sqlite'] },
  );
});

describe('A replica that is permanently behind', () => {
  onEveryDatabase(
    (environment) => {
      it('is never queried: a new token is accepted, and a token that was just revoked is rejected', async (context) => {
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
        const statusCodes: number[] = [];
        for (let round = 0; round < 100; round++) {
          const { plainText, token } = await app.tokens.issue(id);
          statusCodes.push((await app.get('/me', plainText)).status);
          await app.tokens.revoke(id, token.deviceId);
          statusCodes.push((await app.get('/me', plainText)).status);
        }
        expect(tally(statusCodes)).toEqual({ 200: 100, 401: 100 });
        figure(context, {
          fault: 'F25',
          on: 'postgres',
          pass: '100 of 100 issued tokens accepted, no revoked one',
          ours: '100 of 100, none',
        });
        await app.nest.close();
        await replica.close();
      });
    },
    ['postgres'],
  );
});

describe('A process that receives SIGTERM with a hundred requests in progress', () => {
  /** Locks the table of tokens, so that requests wait. The returned function releases the lock. */
  async function lockTokens(database: SharedDatabase): Promise<() => Promise<void>> {
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
        const unlock = await lockTokens(database);
        // Each request has its own connection: Fastify waits for connections that clients keep open.
        const agent = new Agent();
        const answers = burst(100, 100, () =>
          app.send('/auth/login', { method: 'POST', body: { username: users.pop()!, password: 'any' }, agent }),
        );
        while ((await process.received()) < before + 100);
        const ended = process.terminate();
        await unlock();
        expect(statuses(await answers)).toBe('100 × 200');
        const answered = performance.now();
        expect(await ended).toBe('SIGTERM');
        const endedMs = performance.now() - answered;
        expect(endedMs).toBeLessThanOrEqual(1000);
        expect(process.log).toBe('');
        figure(context, {
          fault: 'F26',
          on: `${database.name}, ${adapter}`,
          pass: 'all answered, process ended within 1 s',
          ours: `100 of 100 answered, ended ${milliseconds(endedMs)} after the last`,
        });
      },
    );
  });
});

describe('Tables that do not match the entities', () => {
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

    it('stop the start if a column is missing or has another type, with an error that names it', async (context) => {
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
        pass: 'start stopped, naming the column; with a missing table 503, never 401',
        ours: 'both named; 503 until the table exists',
      });
    });

    it('are answered 503 while one is missing, and used as soon as it exists', async () => {
      const app = await environment.boot();
      const { username } = await app.createUser();
      const token = (await app.login(username)).json.token;
      await app.dataSource.query('ALTER TABLE auth_token RENAME TO away');
      warnings.length = 0;
      const late = await boot();
      expect(warnings.join('\n')).toMatch(/Table \S*auth_token does not exist/);
      for (const [name, answer] of Object.entries({
        me: await late.get('/me', token),
        login: await late.login(username),
      })) {
        expect(answer, name).toMatchObject({
          status: 503,
          json: { code: 'unavailable' },
          headers: { 'retry-after': '1' },
        });
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
      it('is answered 503 wherever it fails, and neither answers nor logs contain its text or its values', async (context) => {
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
        const methods = ['read', 'readEntities', 'transaction'] as const;
        warnings.length = 0;
        let failures = 0;
        for (const [name, send] of Object.entries(requests)) {
          for (const method of methods) {
            // Each use of the database fails in turn, until the request uses it no more.
            for (let failing = 1; ; failing++) {
              let uses = 0;
              const original = database[method].bind(database) as (...parameters: unknown[]) => Promise<never>;
              vi.spyOn(database, method).mockImplementation(async (...parameters: unknown[]) => {
                // The last use of a token is written in the background, and no answer depends on it.
                const isLastUse = parameters[0] === null;
                if (!isLastUse && ++uses === failing) throw failure;
                return original(...parameters);
              });
              const { status, text } = await send();
              vi.restoreAllMocks();
              if (uses < failing) break;
              failures++;
              const label = `${name}, use ${failing} of ${method}`;
              expect(status, label).toBe(503);
              expect(text, label).not.toContain(SENTINEL);
              expect(text, label).not.toContain('no luck');
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
          pass: '503; no detail of the statement in responses and logs',
          ours: `${failures} uses of the database failed in turn: ${failures} × 503, 0 values shown`,
        });
      });
    },
    { databases: ['sqlite', 'postgres'] },
  );
});

describe('An event loop that the application blocks for more than two seconds', () => {
  onEverySharedDatabase((database) => {
    it('costs no request its answer, although the time limit passes meanwhile', async (context) => {
      const process = await AppProcess.start();
      const [app] = (await database.serve([process], { refresh: {}, timeout: '2s' })) as [RemoteApp];
      const [user] = (await database.createUsers(1)) as [string];
      const { token, refreshToken } = (await app.login(user)).json;
      const guarded = burst(200, 20, () => app.get('/me', token));
      const stalls = (async () => {
        for (let round = 0; round < 2; round++) await process.stall(2500);
      })();
      const samples = [...(await guarded), await sample(() => app.refresh(refreshToken))];
      await stalls;
      expect(statuses(samples)).toBe('201 × 200');
      figure(context, {
        fault: 'F29',
        on: database.name,
        pass: 'no 401 while the event loop is blocked for 2 × 2.5 s',
        ours: `${statuses(samples)}, longest ${milliseconds(longestMs(samples))}`,
      });
      await process.stop();
    });
  });
});

describe('Clients that send slowly, send too many headers, or send a decompression bomb', () => {
  onEverySharedDatabase(
    (database) => {
      it.for(['express', 'fastify'] as const)('do not slow down other clients, on %s', async (adapter, context) => {
        const process = await AppProcess.start();
        const [app] = (await database.serve([process], {}, {}, { adapter })) as [RemoteApp];
        const [user] = (await database.createUsers(1)) as [string];
        const { token } = (await app.login(user)).json;
        const sendGuarded = () => app.get('/me', token);
        await pace(50, wait(1000), sendGuarded);
        const idle = await pace(50, wait(4000), sendGuarded);
        const { hostname, port } = new URL(app.origin);
        const head =
          'POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{';
        const slow: Socket[] = Array.from({ length: 200 }, () => {
          const socket = connect(Number(port), hostname, () => socket.write(head));
          return socket.on('error', () => undefined);
        });
        const bomb = gzipSync(Buffer.alloc(5 * MIB, 0x20));
        const attack = async (end: Promise<unknown>) => {
          const answers: number[] = [];
          await pace(10, end, async () => {
            for (const socket of slow) socket.write(' ');
            const lines = 'X-Header: x\r\n'.repeat(2100);
            const many = await rawRequest(
              app.origin,
              `GET /me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${lines}\r\n`,
            );
            const compressed = await request(app.origin, '/auth/login', {
              method: 'POST',
              rawBody: bomb,
              headers: [
                ['Content-Type', 'application/json'],
                ['Content-Encoding', 'gzip'],
              ],
            });
            answers.push(many.status, compressed.status);
            return compressed;
          });
          return tally(answers);
        };
        const end = wait(4000);
        const [during, answers] = await Promise.all([pace(50, end, sendGuarded), attack(end)]);
        for (const socket of slow) socket.destroy();
        expect(statuses(during)).toBe(`${during.length} × 200`);
        for (const status of Object.keys(answers)) expect(['400', '401', '413', '415', '431']).toContain(status);
        // One process sends the attack and measures the other requests. The limit of 100 ms allows for this cost, which
        // the server does not cause.
        expect(p99Ms(during)).toBeLessThanOrEqual(Math.max(2 * p99Ms(idle), 100));
        figure(context, {
          fault: 'F30',
          on: `${database.name}, ${adapter}`,
          pass: 'p99 of other requests ≤ 2 × idle, or 100 ms; attackers receive 4xx',
          ours: `p99 ${milliseconds(p99Ms(idle))} idle, ${milliseconds(p99Ms(during))} during; attackers received ${Object.keys(answers).join(', ')}`,
        });
        await process.stop();
      });
    },
    ['sqlite'],
  );
});
