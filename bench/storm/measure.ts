import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ApplicationProcess } from '../application/application-process.js';
import type { LoggedIn } from '../contestants/contestant.js';
import { Client } from '../load/client.js';
import { paced } from '../load/paced.js';
import { LOAD_CORE, pinned, SERVER_CORE } from '../machine/cores.js';
import type { Postgres } from '../machine/postgres.js';
import { log } from '../report/log.js';
import { quantile } from '../report/statistics.js';

const LOGINS = fileURLToPath(new URL('logins.js', import.meta.url));

const LOGINS_AT_ONCE = 200;
/** Guarded requests a second, with and without logins. */
const GUARDED_PER_SECOND = 200;
const IDLE_MS = 5000;

/** Of guarded requests, with and without logins beside them. */
export interface StormRound {
  idleP99Ms: number;
  stormP99Ms: number;
  stormMaxMs: number;
  /** How long it took until all were logged in. */
  loginsMs: number;
}

export interface Storms {
  loginsAtOnce: number;
  guardedPerSecond: number;
  rounds: StormRound[];
}

const rounded = (ms: number): number => Number(ms.toFixed(1));

/** How long guarded requests take while some work goes on. */
async function guardedBeside(work: () => Promise<unknown>, client: Client, logins: LoggedIn[]): Promise<number[]> {
  const over = new AbortController();
  let asked = 0;
  const guarded = paced(GUARDED_PER_SECOND, over.signal, async () => {
    const { status } = await client.me(logins[asked++ % logins.length]!.credential);
    if (status !== 200) throw new Error(`a guarded request was answered ${status}`);
  });
  const [durationsMs] = await Promise.all([guarded, work().finally(() => over.abort())]);
  return durationsMs;
}

export async function measureStorms(count: number, postgres: Postgres): Promise<Storms> {
  const setting = { adapter: 'express', postgresUrl: await postgres.createDatabase('storm'), sqliteFile: '' } as const;
  const assignment = { role: 'storm', setting, userCount: LOGINS_AT_ONCE } as const;
  const application = await ApplicationProcess.start(assignment, SERVER_CORE);
  const guarded = new Client(application.origin);
  const logins = spawn(...pinned(LOAD_CORE, process.execPath, LOGINS, application.origin, String(LOGINS_AT_ONCE)), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const ended = once(logins, 'exit').then(() => ['the process of those who log in ended']);
  try {
    const { right } = application.logins;
    const storm = async () => {
      const over = Promise.race([once(logins, 'message'), ended]);
      logins.send('storm');
      const [failure] = (await over) as [string | null];
      if (failure !== null) throw new Error(failure);
    };
    await guardedBeside(storm, guarded, right);
    const rounds: StormRound[] = [];
    while (rounds.length < count) {
      const idleMs = await guardedBeside(() => wait(IDLE_MS), guarded, right);
      const startedMs = performance.now();
      const stormMs = await guardedBeside(storm, guarded, right);
      rounds.push({
        idleP99Ms: rounded(quantile(idleMs, 0.99)),
        stormP99Ms: rounded(quantile(stormMs, 0.99)),
        stormMaxMs: rounded(Math.max(...stormMs)),
        loginsMs: Math.round(performance.now() - startedMs),
      });
      log(`storm ${rounds.length}: ${JSON.stringify(rounds.at(-1))}`);
    }
    return { loginsAtOnce: LOGINS_AT_ONCE, guardedPerSecond: GUARDED_PER_SECOND, rounds };
  } finally {
    guarded.close();
    logins.disconnect();
    await application.stop();
  }
}
