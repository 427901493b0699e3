import type { Adapter } from '../contestants/contestant.js';
import type { ContestantName } from '../contestants/roster.js';
import { type Metric, ratio } from '../throughput/ratios.js';
import type { Results } from './results.js';
import { median, quantile } from './statistics.js';

/** What is wanted of the package, and what came of it. */
export interface Claim {
  title: string;
  adapter?: Adapter;
  bound: { atLeast: number } | { atMost: number };
  unit?: 'ms';
  /** @returns undefined where it was not measured */
  measure(results: Results): number | undefined;
}

export const holds = ({ bound }: Claim, measured: number): boolean =>
  'atLeast' in bound ? measured >= bound.atLeast : measured <= bound.atMost;

/** Of requests per second, by adapter. */
function throughputClaims(
  title: string,
  ours: ContestantName,
  theirs: ContestantName,
  atLeast: Partial<Record<Adapter, number>>,
): Claim[] {
  return Object.entries(atLeast).map(([name, bound]) => {
    const adapter = name as Adapter;
    const measure = ({ throughput }: Results) => throughput && ratio(throughput, adapter, ours, theirs);
    return { title, adapter, bound: { atLeast: bound }, measure };
  });
}

const cpuClaim = (adapter: Adapter): Claim => ({
  title: "ours, always fresh, of one prepared join: PostgreSQL's CPU per request",
  adapter,
  bound: { atMost: 0.4 },
  measure({ throughput }) {
    const metric: Metric = 'postgresCpuUsPerRequest';
    return throughput && ratio(throughput, adapter, 'ours', 'prepared-join', metric);
  },
});

export const CLAIMS: readonly Claim[] = [
  ...throughputClaims('ours, always fresh, PostgreSQL, of no guard', 'ours', 'no-guard', {
    express: 0.8,
    fastify: 0.55,
  }),
  ...throughputClaims('ours, always fresh, of passport-jwt tuned', 'ours', 'jwt-tuned', { express: 1.2, fastify: 1.4 }),
  ...throughputClaims('ours, cached, of no guard', 'ours-cached', 'no-guard', { express: 0.85, fastify: 0.75 }),
  ...throughputClaims('ours, cached, of passport-jwt tuned', 'ours-cached', 'jwt-tuned', { express: 1.5, fastify: 2 }),
  ...throughputClaims('ours, always fresh, of one prepared join, PostgreSQL', 'ours', 'prepared-join', {
    express: 1.1,
    fastify: 1.5,
  }),
  cpuClaim('express'),
  cpuClaim('fastify'),
  ...throughputClaims('ours, always fresh, of one prepared join, SQLite file', 'ours-sqlite', 'prepared-join-sqlite', {
    express: 0.9,
    fastify: 0.9,
  }),
  ...throughputClaims('ours, always fresh, of the DRF tutorial by hand', 'ours', 'naive-port', { express: 2.8 }),
  ...throughputClaims('ours, always fresh, of better-auth, bearer', 'ours', 'better-auth', { express: 5 }),
  ...throughputClaims('ours, always fresh, of express-session', 'ours', 'express-session', { express: 2 }),
  ...throughputClaims('ours with last use and `idle`, of the same without', 'ours-last-use', 'ours-no-last-use', {
    express: 0.95,
    fastify: 0.95,
  }),
  {
    title: 'a revocation is refused in the other processes: median',
    bound: { atMost: 50 },
    unit: 'ms',
    measure: ({ revocation }) => revocation && median(revocation.delaysMs),
  },
  {
    title: 'a revocation is refused in the other processes: 99th percentile',
    bound: { atMost: 250 },
    unit: 'ms',
    measure: ({ revocation }) => revocation && quantile(revocation.delaysMs, 0.99),
  },
  {
    title: 'p99 of guarded requests beside 200 logins at once, of the same without',
    bound: { atMost: 3 },
    measure: ({ storm }) => storm && median(storm.rounds.map(({ idleP99Ms, stormP99Ms }) => stormP99Ms / idleP99Ms)),
  },
];
