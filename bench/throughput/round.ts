import { load } from '../load/wrk.js';
import { cpuSeconds } from '../machine/cpu-time.js';
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
}

export interface Pace {
  warmUpSeconds: number;
  seconds: number;
}

const rounded = (value: number, digits: number): number => Number(value.toFixed(digits));

/** Checks the answers of an entrant, warms it up, and measures it. Nobody else is under load meanwhile. */
export async function measureRound(runner: Runner, cycle: number, pace: Pace, postgres: Postgres): Promise<Round> {
  const { contestant, adapter, application, credentialsFile } = runner;
  const url = `${application.origin}/me`;
  await checkAnswers(runner);
  await application.settle();
  if (pace.warmUpSeconds > 0) await load(url, credentialsFile, pace.warmUpSeconds);
  const used = () => ({ server: cpuSeconds(application.pid), postgres: postgres.cpuSeconds() });
  const before = used();
  const summary = await load(url, credentialsFile, pace.seconds);
  const after = used();
  const seconds = summary.durationUs / 1e6;
  return {
    contestant,
    adapter,
    cycle,
    requestsPerSecond: Math.round(summary.requests / seconds),
    p50Ms: rounded(summary.p50Us / 1000, 2),
    p99Ms: rounded(summary.p99Us / 1000, 2),
    serverCpuShare: rounded((after.server - before.server) / seconds, 2),
    postgresCpuUsPerRequest: rounded(((after.postgres - before.postgres) / summary.requests) * 1e6, 1),
  };
}
