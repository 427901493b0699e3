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

/** `timeout` by default, and a quarter of a second for what is around it. */
const LONGEST_REPLY_MS = 2250;
/** From the end of a fault to the first success. */
const LONGEST_RETURN_MS = 1000;
/** How long an application made by hand is waited for. */
const PATIENCE_MS = 6000;
/** How long a server is frozen, or a pool held: no shorter than that, and three times `timeout`. */
const HELD_MS = extent({ usual: 6000, soak: 10_000 });
const POOL = 5;

function expectUnavailable(samples: readonly Sample[]): void {
  for (const { status, retryAfter, answer } of samples) {
    expect({ status, json: answer?.json }).toMatchObject({ status: 503, json: { code: 'unavailable' } });
    expect(retryAfter).toBe('1');
  }
}

type Ask = () => Promise<Answer>;

const IN_TIME = 'every reply 503 within 2.25 s; back within 1 s';

/** What no fault may do that lasts some seconds: keep anybody waiting, log anybody out, or last longer than itself. */
function expectInTime(samples: readonly Sample[], returnMs: number): string {
  expectUnavailable(samples);
  expect(longestMs(samples)).toBeLessThanOrEqual(LONGEST_REPLY_MS);
  expect(returnMs).toBeLessThanOrEqual(LONGEST_RETURN_MS);
  return `${statuses(samples)}, longest ${milliseconds(longestMs(samples))}; back after ${milliseconds(returnMs)}`;
}

/** A server of their own, two applications on it, and one made by hand. */
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

  /** Ends the fault, where a test failed before it could. */
  async mend(): Promise<void> {
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

  readonly askNaive = () =>
    this.naive.send('/me', { headers: [['Authorization', `Bearer ${this.naiveToken}`]], timeoutMs: PATIENCE_MS });

  /** What ours logged of errors. */
  get log(): string {
    return this.processes
      .slice(0, 2)
      .map(({ log }) => log)
      .join('\n');
  }

  /** The one made by hand, anew where the last fault ended its process. */
  async serveNaive(): Promise<void> {
    if (this.naiveProcess?.isRunning) return;
    this.naiveProcess = await AppProcess.start();
    this.naive = await this.serve(this.naiveProcess, { kind: 'naive' });
    this.naiveToken = (await this.naive.login('somebody')).json.token;
  }

  tellNaive(samples: readonly Sample[]): string {
    return statuses(samples) + (this.naiveProcess?.isRunning ? '' : '; its process ended');
  }

  /** The same load on each of ours, all samples together. */
  async onOurs(load: (app: RemoteApp) => Promise<Sample[]>): Promise<Sample[]> {
    return (await Promise.all(this.ours.map(load))).flat();
  }

  readonly authenticate = (app: RemoteApp) => () => app.get('/me', this.token);

  /** How long the slower of ours takes to work again. */
  async returned(): Promise<number> {
    return Math.max(...(await Promise.all(this.ours.map((app) => untilAnswered(this.authenticate(app))))));
  }
}

describe.each(['postgres', 'mariadb'] as const)('A server of %s', (name) => {
  const scene = new Scene(name);
  beforeAll(() => scene.open());
  afterEach(() => scene.mend());
  afterAll(() => scene.close());

  it('that is stopped is answered 503 immediately, and used again when it is back', async (context) => {
    await scene.server.kill();
    const ours: Sample[] = [];
    for (const app of scene.ours) {
      ours.push(...(await burst(200, 10, scene.authenticate(app))));
      ours.push(...(await burst(50, 10, () => app.login(scene.userId))));
      ours.push(...(await burst(20, 10, () => app.refresh(scene.refreshToken))));
    }
    const naive = await burst(200, 10, scene.askNaive);
    expectUnavailable(ours);
    expect(p99Ms(ours)).toBeLessThanOrEqual(250);
    await scene.server.resume();
    const returnMs = await scene.returned();
    expect(returnMs).toBeLessThanOrEqual(LONGEST_RETURN_MS);
    // It was not used, and nobody was logged out.
    expect((await scene.ours[1]!.refresh(scene.refreshToken)).status).toBe(200);
    figure(context, {
      fault: 'F1',
      on: name,
      pass: '503 with Retry-After, p99 ≤ 250 ms; back within 1 s',
      ours: `${statuses(ours)}, p99 ${milliseconds(p99Ms(ours))}; back after ${milliseconds(returnMs)}`,
      naive: `${statuses(naive)}, p99 ${milliseconds(p99Ms(naive))}`,
    });
  });

  it('that is frozen is waited for as long as timeout says, and used again when it goes on', async (context) => {
    await scene.returned();
    await scene.askNaive();
    scene.server.freeze();
    const frozen = wait(HELD_MS);
    const [ours, naive] = await Promise.all([
      scene.onOurs((app) => pace(5, frozen, scene.authenticate(app))),
      burst(2, 2, scene.askNaive),
    ]);
    scene.server.thaw();
    const returnMs = await scene.returned();
    figure(context, {
      fault: 'F2',
      on: name,
      pass: IN_TIME,
      ours: expectInTime(ours, returnMs),
      naive: `${statuses(naive)} within ${milliseconds(PATIENCE_MS)}`,
    });
  });

  it('that kills connections costs no request an error', async (context) => {
    await scene.returned();
    await scene.askNaive();
    const killing = async () => {
      for (let round = 0; round < 20; round++) {
        await killConnections(scene.server);
        await wait(250);
      }
    };
    const [first, second] = scene.ours.map(scene.authenticate) as [Ask, Ask];
    let turn = 0;
    const killed = killing();
    const [ours, naive] = await Promise.all([
      pace(50, killed, () => (turn++ % 2 === 0 ? first() : second())),
      pace(50, killed, scene.askNaive),
    ]);
    expect(statuses(ours), scene.log).toBe(`${ours.length} × 200`);
    figure(context, {
      fault: 'F3',
      on: name,
      pass: 'all 200 while connections are killed 20 times',
      ours: statuses(ours),
      naive: scene.tellNaive(naive),
    });
  });

  it('whose pool is held by the application is answered 503 in time', async (context) => {
    await scene.returned();
    const all = [...scene.ours, scene.naive];
    await Promise.all(all.map((app) => app.hold(POOL)));
    const held = wait(HELD_MS);
    const [ours, naive] = await Promise.all([
      scene.onOurs((app) => pace(5, held, scene.authenticate(app))),
      burst(2, 2, scene.askNaive),
    ]);
    await Promise.all(all.map((app) => app.release()));
    const returnMs = await scene.returned();
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

  it('is answered 503 in time, and used again when it has', async (context) => {
    const taking = await new DataSource({
      type: name,
      url: scene.server.url,
      extra: name === 'postgres' ? { max: 1000 } : { connectionLimit: 1000 },
    }).initialize();
    const own = name === 'postgres' ? 'SELECT pg_backend_pid() AS id' : 'SELECT CONNECTION_ID() AS id';
    const taken: { runner: QueryRunner; id: number }[] = [];
    const takeAll = async () => {
      for (;;) {
        const runner = taking.createQueryRunner();
        try {
          await runner.connect();
        } catch {
          return;
        }
        taken.push({ runner, id: Number((await runner.query(own))[0].id) });
      }
    };
    await takeAll();
    // Those that the applications hold too.
    const others =
      name === 'postgres'
        ? "SELECT pid AS id FROM pg_stat_activity WHERE backend_type = 'client backend'"
        : "SELECT id FROM information_schema.processlist WHERE user = 'root'";
    const mine = new Set(taken.map(({ id }) => id));
    const [first] = taken as [(typeof taken)[number]];
    for (const row of await first.runner.query(others)) {
      const kill = name === 'postgres' ? `SELECT pg_terminate_backend(${row.id})` : `KILL ${row.id}`;
      if (!mine.has(Number(row.id))) await first.runner.query(kill).catch(() => undefined);
    }
    await takeAll();
    const ours = await scene.onOurs((app) => burst(50, 10, scene.authenticate(app)));
    await Promise.all(taken.map(({ runner }) => runner.release()));
    await taking.destroy();
    // It takes its time to end a hundred connections: until then the fault lasts.
    await scene.server.resume();
    const returnMs = await scene.returned();
    figure(context, { fault: 'F4', on: `${name}, none left`, pass: IN_TIME, ours: expectInTime(ours, returnMs) });
  });
});

describe('A server that moves without a word to the connections there are', () => {
  onEveryDatabase(
    (environment) => {
      it('is used again as soon as new connections lead to it', async (context) => {
        const url = new URL(environment.url);
        const address = await TcpProxy.to(Number(url.port));
        url.port = String(address.port);
        const opening = { connectTimeoutMS: 1000, connectTimeout: 1000 };
        const app = await environment.boot({ options: { timeout: '2s' }, typeOrm: { url: url.href, ...opening } });
        const token = await app.token();
        const ask = () => app.get('/me', token);
        await burst(50, 10, ask);
        address.cut();
        const cut = wait(4000);
        const samples = await pace(10, cut, ask);
        address.move();
        const returnMs = await untilAnswered(ask);
        figure(context, {
          fault: 'F2',
          on: `${environment.databaseName}, moved`,
          pass: IN_TIME,
          ours: expectInTime(samples, returnMs),
        });
        await environment.closeApplications();
        await address.close();
      });
    },
    ['postgres', 'mariadb'],
  );
});

describe('A connection that is lost in the middle of a login', () => {
  /** What every server database has, for a test to be in the middle of. */
  type Inside = Record<'send' | 'command', (connection: unknown, statement: unknown) => Promise<unknown>>;

  onEveryDatabase(
    (environment) => {
      it('costs nothing before the commit, and is done at most once at it', async (context) => {
        const app = await environment.boot({ options: { refresh: {}, limit: { perUser: 5, policy: 'evict' } } });
        const inside = app.nest.get<Inside>(DATABASE);
        const other = await new DataSource({
          type: environment.databaseName,
          url: environment.url,
        } as DataSourceOptions).initialize();
        const who =
          environment.databaseName === 'postgres' ? 'SELECT pg_backend_pid() AS id' : 'SELECT CONNECTION_ID() AS id';
        /** Has the server end the connection just before the n-th statement of one way. */
        const killBefore = (way: keyof Inside, place: number, matches: RegExp) => {
          const original = inside[way].bind(inside);
          const seen = { count: 0 };
          vi.spyOn(inside, way).mockImplementation(async (connection, statement) => {
            const sql = typeof statement === 'string' ? statement : (statement as { sql: string }).sql;
            if (matches.test(sql) && ++seen.count === place) {
              const { rows } = (await inside.send(connection, { sql: who, values: [] })) as { rows: { id: number }[] };
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
        const lost: number[] = [];
        for (const place of [1, 2, 3]) {
          const user = await users.pop()!;
          const seen = killBefore('send', place, /auth_token/);
          const { access } = await app.tokens.logIn(user.id);
          expect(seen.count).toBeGreaterThan(place);
          vi.restoreAllMocks();
          await app.tokens.authenticate(access.plainText);
          lost.push((await app.tokens.list(user.id)).length);
        }
        expect(lost).toEqual([1, 1, 1]);
        const user = await users.pop()!;
        killBefore('command', 1, /^COMMIT$/);
        await expect(app.tokens.logIn(user.id)).rejects.toMatchObject({ code: 'unavailable' });
        vi.restoreAllMocks();
        expect((await app.tokens.list(user.id)).length).toBeLessThanOrEqual(1);
        for (let asked = 0; asked < 20; asked++) await app.tokens.list(user.id);
        figure(context, {
          fault: 'F3',
          on: `${environment.databaseName}, within a login`,
          pass: 'no error before the commit, one device; at the commit 503, at most one device',
          ours: 'lost at each of 3 statements: 3 × done, once each; at the commit 503, not done again',
        });
        await other.destroy();
      });
    },
    ['postgres', 'mariadb'],
  );
});

/** Ends all connections but the one that does it. */
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
