import { load } from '../load/wrk.js';
import { busySeconds, cpuSeconds } from '../machine/cpu-time.js';
import type { Postgres } from '../machine/postgres.js';
import { checkResponses } from './check.js';
import type { Variant, RunningVariant } from './variants.js';

/** One measurement of one variant. */
export interface Round extends Variant {
  cycle: number;
  requestsPerSecond: number;
  p50Ms: number;
  p99Ms: number;
  /** Share of the time that the application ran on its core. Below 0.9, it was waiting for something else. */
  serverCpuShare: number;
  postgresCpuUsPerRequest: number;
  /** Number of cores that unrelated processes used. */
  othersCores: number;
}

export interface Pace {
  warmUpSeconds: number;
  seconds: number;
}

const rounded = (value: number, digits: number): number => Number(value.toFixed(digits));

/** CPU time so far: of the application, of PostgreSQL, and of unrelated processes (all that are no descendants of this one). */
const cpuTimes = (applicationPid: number, postgres: Postgres) => ({
  server: cpuSeconds(applicationPid),
  postgres: postgres.cpuSeconds(),
  others: busySeconds() - cpuSeconds(process.pid),
});

/** Checks the responses of a variant, warms it up, and measures it. No other variant is under load meanwhile. */
export async function measureRound(
  variant: RunningVariant,
  cycle: number,
  pace: Pace,
  postgres: Postgres,
): Promise<Round> {
  const { contestant, adapter, application, credentialsFile } = variant;
  const url = `${application.origin}/me`;
  await checkResponses(variant);
  await application.prepareRound();
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

/** A round is disturbed if unrelated processes use more cores than this. */
export const MAX_OTHERS_CORES = 0.1;

/** Repeats a disturbed measurement. Returns the least disturbed round, even if it is not the fastest one. */
export async function measureUndisturbed(attempts: number, measure: () => Promise<Round>): Promise<Round> {
  let best = await measure();
  for (let count = 1; count < attempts && best.othersCores > MAX_OTHERS_CORES; count++) {
    const next = await measure();
    if (next.othersCores < best.othersCores) best = next;
  }
  return best;
}
