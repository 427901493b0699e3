import { load } from '../load/wrk.js';
import { busySeconds, cpuSeconds } from '../machine/cpu-time.js';
import type { Postgres } from '../machine/postgres.js';
import { checkAnswers } from './check.js';
import type { Entrant, Runner } from './lineup.js';

/** One measurement of one entrant. */
export interface Round extends Entrant {
  cycle: number;
  requestsPerSecond: number;
  p50Ms: number;
  p99Ms: number;
  /** Of the time, the share that the application was on its core: below 0.9 something else held it up. */
  serverCpuShare: number;
  postgresCpuUsPerRequest: number;
  /** Cores that processes kept busy which have no part in the run. */
  othersCores: number;
}

export interface Pace {
  warmUpSeconds: number;
  seconds: number;
}

const rounded = (value: number, digits: number): number => Number(value.toFixed(digits));

/** CPU time so far: of the application, of PostgreSQL, and of what has no part in the run, all of which was started here. */
const cpuTimes = (applicationPid: number, postgres: Postgres) => ({
  server: cpuSeconds(applicationPid),
  postgres: postgres.cpuSeconds(),
  others: busySeconds() - cpuSeconds(process.pid),
});

/** Checks the answers of an entrant, warms it up, and measures it. Nobody else is under load meanwhile. */
export async function measureRound(runner: Runner, cycle: number, pace: Pace, postgres: Postgres): Promise<Round> {
  const { contestant, adapter, application, credentialsFile } = runner;
  const url = `${application.origin}/me`;
  await checkAnswers(runner);
  await application.settle();
  if (pace.warmUpSeconds > 0) await load(url, credentialsFile, pace.warmUpSeconds);
  const before = cpuTimes(application.pid, postgres);
  const { requests, durationUs, p50Us, p99Us } = await load(url, credentialsFile, pace.seconds);
  const after = cpuTimes(application.pid, postgres);
  const seconds = durationUs / 1e6;
  return {
    contestant,
    adapter,
    cycle,
    requestsPerSecond: Math.round(requests / seconds),
    p50Ms: rounded(p50Us / 1000, 2),
    p99Ms: rounded(p99Us / 1000, 2),
    serverCpuShare: rounded((after.server - before.server) / seconds, 2),
    postgresCpuUsPerRequest: rounded(((after.postgres - before.postgres) / requests) * 1e6, 1),
    othersCores: rounded((after.others - before.others) / seconds, 2),
  };
}

/** More than this, and a round says more of the others than of the contestant. */
export const DISTURBING_CORES = 0.1;

/** {@link measureRound}, again where it was disturbed. The least disturbed one counts, whatever came of it. */
export async function measureUndisturbed(most: number, measure: () => Promise<Round>): Promise<Round> {
  let best = await measure();
  for (let count = 1; count < most && best.othersCores > DISTURBING_CORES; count++) {
    const next = await measure();
    if (next.othersCores < best.othersCores) best = next;
  }
  return best;
}
