import { setTimeout as wait } from 'node:timers/promises';
import { DataSource, type DataSourceOptions, type QueryRunner } from 'typeorm';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { DATABASE } from '../../lib/expiring-token.constants.js';
import { onEveryDatabase } from '../fixtures/app.js';
import { AppProcess, type RemoteApp } from '../fixtures/app-process.js';
import { figure } from '../fixtures/figures.js';
import { extent } from '../fixtures/iterations.js';
import type { Answer } from '../fixtures/http.js';
import { burst, longestMs, milliseconds, p99Ms, pace, type Sample, statuses, untilAnswered } from '../fixtures/load.js';
import { type DatabaseServerName, PrivateServer } from '../fixtures/private-server.js';
import type { Setup } from '../fixtures/processes/protocol.js';
import { SharedDatabase } from '../fixtures/shared-database.js';
import { TcpProxy } from '../fixtures/tcp-proxy.js';

/** The default of `timeout`, and a quarter of a second for the rest of the request. */
const MAX_REPLY_MS = 2250;
/** From the end of a fault to the first success. */
const MAX_RETURN_MS = 1000;
/** Longest wait for the application that was written by hand. */
const PATIENCE_MS = 6000;
/** How long a server is frozen, or a pool held: at least `PATIENCE_MS`, and three times `timeout`. */
const HELD_MS = extent({ usual: 6000, soak: 10_000 });
const POOL = 5;

function expectUnavailable(samples: readonly Sample[]): void {
  for (const [index, { status, retryAfter, answer }] of samples.entries()) {
    const label = `request ${index} of ${samples.length}`;
    expect({ status, json: answer?.json }, label).toMatchObject({ status: 503, json: { code: 'unavailable' } });
    expect(retryAfter, label).toBe('1');
  }
}

type Send = () => Promise<Answer>;

const IN_TIME = '503 within 2.25 s, back within 1 s';

/** For a fault of some seconds: no client may wait long, be logged out, or notice the fault after its end. */
function expectInTime(samples: readonly Sample[], returnMs: number): string {
  expectUnavailable(samples);
  expect(longestMs(samples)).toBeLessThanOrEqual(MAX_REPLY_MS);
  expect(returnMs).toBeLessThanOrEqual(MAX_RETURN_MS);
  return `${statuses(samples)}, longest ${milliseconds(longestMs(samples))}; back after ${milliseconds(returnMs)}`;
}

/** A private server, two applications that use it, and an application that was written by hand. */
class Scene {
  server: PrivateServer;
  database: SharedDatabase;
  private processes: AppProcess[] = [];
  private naiveProcess?: AppProcess;
  ours: RemoteApp[] = [];
  naive: RemoteApp;
  userId: string;
  token: string;
  refreshToken: string;
  private naiveToken: string;

  constructor(readonly name: DatabaseServerName) {}

  async open(): Promise<void> {
    this.server = await PrivateServer.start(this.name);
    const options = { type: this.name, url: this.server.url } as const;
    this.database = new SharedDatabase(this.name, async () => ({ options, drop: async () => undefined }));
    await this.database.open();
    this.processes = await Promise.all([AppProcess.start(), AppProcess.start()]);
    const [one, two] = this.processes as [AppProcess, AppProcess];
    this.ours = [await this.serve(one, { adapter: 'express' }), await this.serve(two, { adapter: 'fastify' })];
    [this.userId] = (await this.database.createUsers(1)) as [string];
    const { token, refreshToken } = (await this.ours[0]!.login(this.userId)).json;
    Object.assign(this, { token, refreshToken });
    await this.serveNaive();
  }

  /** Ends the fault if a test failed before it could. */
  async repair(): Promise<void> {
    this.server.thaw();
    if (!this.server.isRunning) await this.server.resume();
    await Promise.all(this.ours.map((app) => app.release()));
    await this.serveNaive();
  }

  async close(): Promise<void> {
    for (const process of this.processes) expect(process.log).not.toMatch(/ext_[\w-]{70}/);
    await Promise.all(this.processes.map((process) => process.stop()));
    await this.naiveProcess?.kill();
    await this.database.close();
    await this.server.remove();
  }

  private async serve(process: AppProcess, setup: Setup): Promise<RemoteApp> {
    const pool = { extra: this.name === 'postgres' ? { max: POOL } : { connectionLimit: POOL } };
    const [app] = await this.database.serve([process], { refresh: {}, timeout: '2s' }, pool, setup);
    return app!;
  }

  readonly sendToNaive = () =>
    this.naive.send('/me', { headers: [['Authorization', `Bearer ${this.naiveToken}`]], timeoutMs: PATIENCE_MS });

  /** The errors that our two applications logged. */
  get log(): string {
    return this.processes
      .slice(0, 2)
      .map(({ log }) => log)
      .join('\n');
  }

  /** Starts the application that was written by hand, again if the last fault ended its process. */
  async serveNaive(): Promise<void> {
    if (this.naiveProcess?.isRunning) return;
    this.naiveProcess = await AppProcess.start();
    this.naive = await this.serve(this.naiveProcess, { kind: 'naive' });
    this.naiveToken = (await this.naive.login('somebody')).json.token;
  }

  /** The results of the application that was written by hand. */
  describeNaive(samples: readonly Sample[]): string {
    return statuses(samples) + (this.naiveProcess?.isRunning ? '' : '; its process ended');
  }

  /** Puts the same load on each of our applications; returns all samples. */
  async onOurs(load: (app: RemoteApp) => Promise<Sample[]>): Promise<Sample[]> {
    return (await Promise.all(this.ours.map(load))).flat();
  }

  readonly authenticate = (app: RemoteApp) => () => app.get('/me', this.token);

  /** After how many milliseconds both of our applications work again. */
  async recovered(): Promise<number> {
    return Math.max(...(await Promise.all(this.ours.map((app) => untilAnswered(this.authenticate(app))))));
  }
}

describe.each(['postgres', 'mariadb'] as const)('A server of %s', (name) => {
  const scene = new Scene(name);
  beforeAll(() => scene.open());
  afterEach(() => scene.repair());
  afterAll(() => scene.close());

  it('that is stopped is answered 503 immediately, and used again when it is back', async (context) => {
    await scene.server.kill();
    const ours: Sample[] = [];
    for (const app of scene.ours) {
      ours.push(...(await burst(200, 10, scene.authenticate(app))));
      ours.push(...(await burst(50, 10, () => app.login(scene.userId))));
      ours.push(...(await burst(20, 10, () => app.refresh(scene.refreshToken))));
    }
    const naive = await burst(200, 10, scene.sendToNaive);
    expectUnavailable(ours);
    expect(p99Ms(ours)).toBeLessThanOrEqual(250);
    await scene.server.resume();
    const returnMs = await scene.recovered();
    expect(returnMs).toBeLessThanOrEqual(MAX_RETURN_MS);
    // The outage has not used up the refresh token, and has logged nobody out.
    expect((await scene.ours[1]!.refresh(scene.refreshToken)).status).toBe(200);
    figure(context, {
      fault: 'F1',
      on: name,
      pass: '503 with Retry-After, p99 ≤ 250 ms, back within 1 s',
      ours: `${statuses(ours)}, p99 ${milliseconds(p99Ms(ours))}; back after ${milliseconds(returnMs)}`,
      naive: `${statuses(naive)}, p99 ${milliseconds(p99Ms(naive))}`,
    });
  });

  it('that is frozen is answered 503 after the time limit, and used again when it continues', async (context) => {
    await scene.recovered();
    await scene.sendToNaive();
    scene.server.freeze();
    const frozen = wait(HELD_MS);
    const [ours, naive] = await Promise.all([
      scene.onOurs((app) => pace(5, frozen, scene.authenticate(app))),
      burst(2, 2, scene.sendToNaive),
    ]);
    scene.server.thaw();
    const returnMs = await scene.recovered();
    figure(context, {
      fault: 'F2',
      on: name,
      pass: IN_TIME,
      ours: expectInTime(ours, returnMs),
      naive: `${statuses(naive)} within ${milliseconds(PATIENCE_MS)}`,
    });
  });

  it('that kills connections causes no error', async (context) => {
    await scene.recovered();
    await scene.sendToNaive();
    const killing = async () => {
      for (let round = 0; round < 20; round++) {
        await killConnections(scene.server);
        await wait(250);
      }
    };
    const [first, second] = scene.ours.map(scene.authenticate) as [Send, Send];
    let turn = 0;
    const killed = killing();
    const [ours, naive] = await Promise.all([
      pace(50, killed, () => (turn++ % 2 === 0 ? first() : second())),
      pace(50, killed, scene.sendToNaive),
    ]);
    expect(statuses(ours), scene.log).toBe(`${ours.length} × 200`);
    figure(context, {
      fault: 'F3',
      on: name,
      pass: 'no error while connections are killed 20 times',
      ours: statuses(ours),
      naive: scene.describeNaive(naive),
    });
  });

  it('whose pool is held by the application is answered 503 within the time limit', async (context) => {
    await scene.recovered();
    const all = [...scene.ours, scene.naive];
    await Promise.all(all.map((app) => app.hold(POOL)));
    const held = wait(HELD_MS);
    const [ours, naive] = await Promise.all([
      scene.onOurs((app) => pace(5, held, scene.authenticate(app))),
      burst(2, 2, scene.sendToNaive),
    ]);
    await Promise.all(all.map((app) => app.release()));
    const returnMs = await scene.recovered();
    figure(context, {
      fault: 'F4',
      on: name,
      pass: IN_TIME,
      ours: expectInTime(ours, returnMs),
      naive: `${statuses(naive)} within ${milliseconds(PATIENCE_MS)}`,
    });
  });
});

describe.each(['postgres', 'mariadb'] as const)('A server of %s that has no connection left', (name) => {
  const scene = new Scene(name);
  beforeAll(() => scene.open());
  afterAll(() => scene.close());

  it('is answered 503 within the time limit, and used again when it has connections', async (context) => {
    const source = await new DataSource({
      type: name,
      url: scene.server.url,
      extra: name === 'postgres' ? { max: 1000 } : { connectionLimit: 1000 },
    }).initialize();
    const own = name === 'postgres' ? 'SELECT pg_backend_pid() AS id' : 'SELECT CONNECTION_ID() AS id';
    const taken: { runner: QueryRunner; id: number }[] = [];
    const takeAll = async () => {
      for (;;) {
        const runner = source.createQueryRunner();
        try {
          await runner.connect();
        } catch {
          return;
        }
        taken.push({ runner, id: Number((await runner.query(own))[0].id) });
      }
    };
    await takeAll();
    // Ends the connections of the applications too.
    const others =
      name === 'postgres'
        ? "SELECT pid AS id FROM pg_stat_activity WHERE backend_type = 'client backend'"
        : "SELECT id FROM information_schema.processlist WHERE user = 'root'";
    const ownIds = new Set(taken.map(({ id }) => id));
    const [first] = taken as [(typeof taken)[number]];
    for (const row of await first.runner.query(others)) {
      const kill = name === 'postgres' ? `SELECT pg_terminate_backend(${row.id})` : `KILL ${row.id}`;
      if (!ownIds.has(Number(row.id))) await first.runner.query(kill).catch(() => undefined);
    }
    await takeAll();
    const ours = await scene.onOurs((app) => burst(50, 10, scene.authenticate(app)));
    await Promise.all(taken.map(({ runner }) => runner.release()));
    await source.destroy();
    // The server needs some time to end a hundred connections. The fault lasts until then.
    await scene.server.resume();
    const returnMs = await scene.recovered();
    figure(context, {
      fault: 'F4',
      on: `${name}, no connection left`,
      pass: IN_TIME,
      ours: expectInTime(ours, returnMs),
    });
  });
});

describe('A server that moves without notice to its open connections', () => {
  onEveryDatabase(
    (environment) => {
      it('is used again as soon as new connections reach it', async (context) => {
        const url = new URL(environment.url);
        const proxy = await TcpProxy.to(Number(url.port));
        url.port = String(proxy.port);
        const opening = { connectTimeoutMS: 1000, connectTimeout: 1000 };
        const app = await environment.boot({ options: { timeout: '2s' }, typeOrm: { url: url.href, ...opening } });
        const token = await app.token();
        const sendGuarded = () => app.get('/me', token);
        await burst(50, 10, sendGuarded);
        proxy.cut();
        const cut = wait(4000);
        const samples = await pace(10, cut, sendGuarded);
        proxy.move();
        const returnMs = await untilAnswered(sendGuarded);
        figure(context, {
          fault: 'F2',
          on: `${environment.databaseName}, moved`,
          pass: IN_TIME,
          ours: expectInTime(samples, returnMs),
        });
        await environment.closeApplications();
        await proxy.close();
      });
    },
    ['postgres', 'mariadb'],
  );
});

describe('A connection that is lost during a login', () => {
  /** Internal methods of the databases of servers, which this test replaces. */
  type Internals = Record<'send' | 'execute', (connection: unknown, statement: unknown) => Promise<unknown>>;

  onEveryDatabase(
    (environment) => {
      it('causes no error before the commit, and during the commit the login is done at most once', async (context) => {
        const app = await environment.boot({ options: { refresh: {}, limit: { perUser: 5, policy: 'evict' } } });
        const internals = app.nest.get<Internals>(DATABASE);
        const other = await new DataSource({
          type: environment.databaseName,
          url: environment.url,
        } as DataSourceOptions).initialize();
        const connectionId =
          environment.databaseName === 'postgres' ? 'SELECT pg_backend_pid() AS id' : 'SELECT CONNECTION_ID() AS id';
        /** Makes the server end the connection just before the n-th matching statement that this method runs. */
        const killBefore = (method: keyof Internals, ordinal: number, pattern: RegExp) => {
          const original = internals[method].bind(internals);
          const seen = { count: 0 };
          vi.spyOn(internals, method).mockImplementation(async (connection, statement) => {
            const sql = typeof statement === 'string' ? statement : (statement as { sql: string }).sql;
            if (pattern.test(sql) && ++seen.count === ordinal) {
              const { rows } = (await internals.send(connection, { sql: connectionId, values: [] })) as {
                rows: { id: number }[];
              };
              const id = rows[0]!.id;
              await other.query(
                environment.databaseName === 'postgres' ? `SELECT pg_terminate_backend(${id})` : `KILL ${id}`,
              );
            }
            return original(connection, statement);
          });
          return seen;
        };
        const users = Array.from({ length: 6 }, () => app.createUser());
        const deviceCounts: number[] = [];
        for (const ordinal of [1, 2, 3]) {
          const user = await users.pop()!;
          const seen = killBefore('send', ordinal, /auth_token/);
          const { access } = await app.tokens.logIn(user.id);
          expect(seen.count, `killed before statement ${ordinal}`).toBeGreaterThan(ordinal);
          vi.restoreAllMocks();
          await app.tokens.authenticate(access.plainText);
          deviceCounts.push((await app.tokens.list(user.id)).length);
        }
        expect(deviceCounts).toEqual([1, 1, 1]);
        const user = await users.pop()!;
        killBefore('execute', 1, /^COMMIT$/);
        await expect(app.tokens.logIn(user.id)).rejects.toMatchObject({ code: 'unavailable' });
        vi.restoreAllMocks();
        expect((await app.tokens.list(user.id)).length).toBeLessThanOrEqual(1);
        for (let times = 0; times < 20; times++) await app.tokens.list(user.id);
        figure(context, {
          fault: 'F3',
          on: `${environment.databaseName}, during a login`,
          pass: 'no error before the commit, one device; during the commit 503, at most one device',
          ours: 'lost before each of 3 statements: 3 logins, one device each; during the commit 503, not done again',
        });
        await other.destroy();
      });
    },
    ['postgres', 'mariadb'],
  );
});

/** Ends all connections of the server except its own. */
async function killConnections(server: PrivateServer): Promise<void> {
  if (server.name === 'postgres') {
    await server.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
    );
  } else {
    const found = await server.query<{ id: string }[]>(
      "SELECT id FROM information_schema.processlist WHERE user = 'root' AND id <> CONNECTION_ID()",
    );
    await Promise.all(found.map(({ id }) => server.query(`KILL ${id}`).catch(() => undefined)));
  }
}
