import type { ContestantName } from '../contestants/roster.js';
import { load } from '../load/wrk.js';
import { cpuSeconds } from '../machine/cpu-time.js';
import type { Postgres } from '../machine/postgres.js';
import { type RunningVariant, startVariant } from '../throughput/variants.js';
import { type Bound, cpuTable, excesses } from './figures.js';

const USER_COUNT = 200;
const SECONDS = 1;
/** A process runs at its full speed after its code was compiled. */
const WARM_UP_ROUNDS = 2;

/** The measured applications on Fastify. The first one is the bare request. */
const CONTESTANTS = ['no-guard', 'jwt-tuned', 'ours', 'ours-cached'] as const satisfies readonly ContestantName[];

type Name = (typeof CONTESTANTS)[number];

/** CPU of the process per request, in microseconds, by round. */
export interface ServerCpu {
  roundsUs: Record<Name, number[]>;
}

/** What is compared: what a guard adds to the bare request. */
const BOUNDS: readonly Bound<Name>[] = [
  { measured: 'ours', peer: 'jwt-tuned', atMost: 1.8 },
  { measured: 'ours-cached', peer: 'jwt-tuned', atMost: 0.7 },
];

async function measureRound({ application, credentialsFile }: RunningVariant): Promise<number> {
  await application.prepareRound();
  const before = cpuSeconds(application.pid);
  const { requests } = await load(`${application.origin}/me`, credentialsFile, SECONDS);
  return ((cpuSeconds(application.pid) - before) * 1e6) / requests;
}

/** Measures what a request costs a loaded server on Fastify, bare and with each guard. */
export async function measureServerCpu(
  rounds: number,
  machine: { postgres: Postgres; directory: string },
): Promise<ServerCpu> {
  const running = new Map<Name, RunningVariant>();
  const roundsUs = Object.fromEntries(CONTESTANTS.map((name) => [name, [] as number[]])) as ServerCpu['roundsUs'];
  try {
    for (const contestant of CONTESTANTS)
      running.set(contestant, await startVariant({ contestant, adapter: 'fastify' }, USER_COUNT, machine, 'cpu-'));
    for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
      for (const [name, variant] of running) {
        const us = await measureRound(variant);
        if (round >= 0) roundsUs[name].push(us);
      }
    }
    return { roundsUs };
  } finally {
    await Promise.all([...running.values()].map(({ application }) => application.stop()));
  }
}

/** What each guard adds to the bare request, by round. */
function addedUs({ roundsUs }: ServerCpu): ServerCpu['roundsUs'] {
  const bare = Math.min(...roundsUs['no-guard']);
  return Object.fromEntries(
    CONTESTANTS.map((name) => [name, roundsUs[name].map((us) => us - bare)]),
  ) as ServerCpu['roundsUs'];
}

/** The figures in Markdown: a whole request, then what the guard adds to the bare one. */
export const serverCpuTable = (cpu: ServerCpu): string =>
  [
    cpuTable('whole request on Fastify', cpu.roundsUs, 'jwt-tuned'),
    cpuTable('added to the bare request', addedUs(cpu), 'jwt-tuned'),
  ].join('\n\n');

/** What is above its bound, one line each. */
export const serverCpuExcesses = (cpu: ServerCpu): string[] => excesses(BOUNDS, addedUs(cpu));
