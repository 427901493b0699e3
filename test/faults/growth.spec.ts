import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fillingStatements } from '../../bench/scale/fill.js';
import { onEveryDatabase } from '../fixtures/app.js';
import { AppProcess, type RemoteApp } from '../fixtures/app-process.js';
import { figure } from '../fixtures/figures.js';
import { bootGrowthApps, expectLinearGrowth, GROWTH_SHAPES, type GrowthApps } from '../fixtures/growth.js';
import { extent } from '../fixtures/iterations.js';
import { burst, limitMs, milliseconds, p99Ms, pace, statuses } from '../fixtures/load.js';
import { onEverySharedDatabase, type SharedDatabase } from '../fixtures/shared-database.js';

const DAY_MS = 86_400_000;
const OPTIONS = { lifespan: '90d', idle: '7d', prune: { retention: '1d' } } as const;

/** A tenth of them is valid. */
const ROWS = extent({ usual: 40_000, soak: 1_000_000 });
const REQUESTS_PER_SECOND = 50;
const MAX_STALL_MS = 50;
const MAX_STATEMENT_MS = 250;
/** Other work of the machine can only lengthen a measurement, so one attempt of these must be within the limits. */
const ATTEMPTS = 3;

describe('Pruning nine tenths of a table', () => {
  let process: AppProcess;
  beforeAll(async () => {
    process = await AppProcess.start();
  });
  afterAll(() => process.stop());

  async function fill({ source, name }: SharedDatabase): Promise<void> {
    const now = Date.now();
    // The valid rows are old too, and lie between the expired ones.
    const ages = { from: now - 60 * DAY_MS, until: now - 30 * DAY_MS, usedAt: now };
    for (const table of ['auth_token', 'auth_user']) await source.query(`DELETE FROM ${table}`);
    for (const sql of fillingStatements(name, { tokens: ROWS, users: ROWS / 5, ...ages })) await source.query(sql);
  }

  async function sweep(database: SharedDatabase, app: RemoteApp) {
    await fill(database);
    const [user] = (await database.createUsers(1)) as [string];
    const { token } = (await app.login(user)).json;
    const sendGuarded = () => app.get('/me', token);
    // Warms up, until the code is compiled.
    await burst(REQUESTS_PER_SECOND, 1, sendGuarded);
    await Promise.all([process.stalled(), process.slowestStatement()]);
    await pace(REQUESTS_PER_SECOND, wait(1000), sendGuarded);
    const [idleStallMs, idleStatementMs] = await Promise.all([process.stalled(), process.slowestStatement()]);

    const started = performance.now();
    const deleted = app.call<number>('tokens', 'prune');
    const answers = await pace(REQUESTS_PER_SECOND, deleted, sendGuarded);
    const sweptMs = performance.now() - started;
    const [stalledMs, statementMs] = await Promise.all([process.stalled(), process.slowestStatement()]);

    expect(await deleted).toBe(ROWS * 0.9);
    const [rest] = await database.source.query(
      'SELECT COUNT(*) AS tokens, COUNT(last_used_at) AS valid FROM auth_token',
    );
    expect([Number(rest.tokens), Number(rest.valid)]).toEqual([ROWS / 10 + 1, ROWS / 10 + 1]);
    expect(statuses(answers)).toBe(`${answers.length} × 200`);
    const isOnTime =
      statementMs <= limitMs(MAX_STATEMENT_MS, idleStatementMs) &&
      (database.name !== 'sqlite' || stalledMs <= limitMs(MAX_STALL_MS, idleStallMs));
    return { answers, sweptMs, stalledMs, statementMs, idleStallMs, idleStatementMs, isOnTime };
  }

  onEverySharedDatabase((database) => {
    it('during requests delays none of them, and deletes no valid token', { timeout: 900_000 }, async (context) => {
      const [app] = (await database.serve([process], OPTIONS)) as [RemoteApp];
      let attempts = 0;
      let measured: Awaited<ReturnType<typeof sweep>>;
      do {
        measured = await sweep(database, app);
        attempts++;
      } while (attempts < ATTEMPTS && !measured.isOnTime);
      const { answers, sweptMs, stalledMs, statementMs, idleStallMs } = measured;
      expect(measured).toMatchObject({ isOnTime: true });
      figure(context, {
        fault: 'F19',
        on: database.name,
        pass: 'no error, no valid row deleted; statements ≤ 250 ms; on SQLite stalls ≤ 50 ms; or three times as long as without the sweep',
        ours:
          `${(ROWS * 0.9).toLocaleString('en')} of ${ROWS.toLocaleString('en')} rows in ${milliseconds(sweptMs)}, ` +
          `${answers.length} × 200 (p99 ${milliseconds(p99Ms(answers))}); longest statement ${milliseconds(statementMs)}, ` +
          `longest stall ${milliseconds(stalledMs)} (${milliseconds(idleStallMs)} without the sweep)`,
      });
      await app.close();
    });
  });
});

describe('A user with up to a hundred thousand', () => {
  onEveryDatabase((environment) => {
    let apps: GrowthApps;
    beforeAll(async () => {
      apps = await bootGrowthApps(environment);
    });

    it.each(GROWTH_SHAPES)(
      '%s costs each route and each method no more than linearly',
      { timeout: 900_000 },
      async (shape) => {
        const durations = await expectLinearGrowth(environment, apps, shape, [1000, 10_000, 100_000]);
        console.log(`${environment.databaseName}, 100,000 ${shape}: ${durations}`);
      },
    );
  });
});
