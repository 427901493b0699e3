import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ApplicationProcess } from '../application/application-process.js';
import type { LoggedInUser } from '../contestants/contestant.js';
import { Client } from '../load/client.js';
import { sendAtConstantRate } from '../load/constant-rate.js';
import { LOAD_CORE, pinned, SERVER_CORE } from '../machine/cores.js';
import type { Postgres } from '../machine/postgres.js';
import { log } from '../report/log.js';
import { quantile } from '../report/statistics.js';

const LOGINS = fileURLToPath(new URL('logins.js', import.meta.url));

const CONCURRENT_LOGINS = 200;
/** Guarded requests per second, with and without logins. */
const GUARDED_PER_SECOND = 200;
const IDLE_MS = 5000;

/** Durations of guarded requests, with and without simultaneous logins. */
export interface StormRound {
  idleP99Ms: number;
  stormP99Ms: number;
  stormMaxMs: number;
  /** Time until all users were logged in. */
  loginsMs: number;
}

export interface Storms {
  loginsAtOnce: number;
  guardedPerSecond: number;
  rounds: StormRound[];
}

const rounded = (ms: number): number => Number(ms.toFixed(1));

/** Measures the durations of guarded requests while some work is in progress. */
async function measureGuardedDuring(
  work: () => Promise<unknown>,
  client: Client,
  logins: LoggedInUser[],
): Promise<number[]> {
  const finished = new AbortController();
  let sent = 0;
  const guarded = sendAtConstantRate(GUARDED_PER_SECOND, finished.signal, async () => {
    const { status } = await client.me(logins[sent++ % logins.length]!.credential);
    if (status !== 200) throw new Error(`a guarded request got status ${status}`);
  });
  const [durationsMs] = await Promise.all([guarded, work().finally(() => finished.abort())]);
  return durationsMs;
}

export async function measureStorms(count: number, postgres: Postgres): Promise<Storms> {
  const setting = { adapter: 'express', postgresUrl: await postgres.createDatabase('storm'), sqliteFile: '' } as const;
  const assignment = { role: 'storm', setting, userCount: CONCURRENT_LOGINS } as const;
  const application = await ApplicationProcess.start(assignment, SERVER_CORE);
  const client = new Client(application.origin);
  const logins = spawn(...pinned(LOAD_CORE, process.execPath, LOGINS, application.origin, String(CONCURRENT_LOGINS)), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const ended = once(logins, 'exit').then(() => ['the process that sends the logins ended']);
  try {
    const { valid } = application.logins;
    const storm = async () => {
      const result = Promise.race([once(logins, 'message'), ended]);
      logins.send('storm');
      const [failure] = (await result) as [string | null];
      if (failure !== null) throw new Error(failure);
    };
    await measureGuardedDuring(storm, client, valid);
    const rounds: StormRound[] = [];
    while (rounds.length < count) {
      const idleMs = await measureGuardedDuring(() => wait(IDLE_MS), client, valid);
      const startedMs = performance.now();
      const stormMs = await measureGuardedDuring(storm, client, valid);
      rounds.push({
        idleP99Ms: rounded(quantile(idleMs, 0.99)),
        stormP99Ms: rounded(quantile(stormMs, 0.99)),
        stormMaxMs: rounded(Math.max(...stormMs)),
        loginsMs: Math.round(performance.now() - startedMs),
      });
      log(`storm ${rounds.length}: ${JSON.stringify(rounds.at(-1))}`);
    }
    return { loginsAtOnce: CONCURRENT_LOGINS, guardedPerSecond: GUARDED_PER_SECOND, rounds };
  } finally {
    client.close();
    logins.disconnect();
    await application.stop();
  }
}
