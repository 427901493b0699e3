import type { Adapter } from '../contestants/contestant.js';
import type { ContestantName } from '../contestants/roster.js';
import { type Metric, ratio } from '../throughput/ratios.js';
import type { Results } from './results.js';
import { median, quantile } from './statistics.js';

/** A performance target of the package, and the function that measures it. */
export interface Claim {
  title: string;
  adapter?: Adapter;
  bound: { atLeast: number } | { atMost: number };
  unit?: 'ms';
  /** @returns undefined if it was not measured */
  measure(results: Results): number | undefined;
}

export const isMet = ({ bound }: Claim, measured: number): boolean =>
  'atLeast' in bound ? measured >= bound.atLeast : measured <= bound.atMost;

/** Targets for a ratio of requests per second, one for each adapter. */
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
  title: "ours, no cache, relative to one prepared join: PostgreSQL's CPU per request",
  adapter,
  bound: { atMost: 0.4 },
  measure({ throughput }) {
    const metric: Metric = 'postgresCpuUsPerRequest';
    return throughput && ratio(throughput, adapter, 'ours', 'prepared-join', metric);
  },
});

export const CLAIMS: readonly Claim[] = [
  ...throughputClaims('ours, no cache, PostgreSQL, relative to no guard', 'ours', 'no-guard', {
    express: 0.8,
    fastify: 0.55,
  }),
  ...throughputClaims('ours, no cache, relative to passport-jwt tuned', 'ours', 'jwt-tuned', {
    express: 1.2,
    fastify: 1.4,
  }),
  ...throughputClaims('ours, cached, relative to no guard', 'ours-cached', 'no-guard', {
    express: 0.85,
    fastify: 0.75,
  }),
  ...throughputClaims('ours, cached, relative to passport-jwt tuned', 'ours-cached', 'jwt-tuned', {
    express: 1.5,
    fastify: 2,
  }),
  ...throughputClaims('ours, no cache, relative to one prepared join, PostgreSQL', 'ours', 'prepared-join', {
    express: 1.1,
    fastify: 1.5,
  }),
  cpuClaim('express'),
  cpuClaim('fastify'),
  ...throughputClaims(
    'ours, no cache, relative to one prepared join, SQLite file',
    'ours-sqlite',
    'prepared-join-sqlite',
    {
      express: 0.9,
      fastify: 0.9,
    },
  ),
  ...throughputClaims('ours, no cache, relative to the DRF tutorial', 'ours', 'naive-port', { express: 2.8 }),
  ...throughputClaims('ours, no cache, relative to better-auth, bearer', 'ours', 'better-auth', { express: 5 }),
  ...throughputClaims('ours, no cache, relative to express-session', 'ours', 'express-session', { express: 2 }),
  ...throughputClaims(
    'ours with last use and `idle`, relative to last use never written',
    'ours-last-use',
    'ours-no-last-use',
    {
      express: 0.95,
      fastify: 0.95,
    },
  ),
  {
    title: 'revoked tokens are rejected in the other processes: median',
    bound: { atMost: 50 },
    unit: 'ms',
    measure: ({ revocation }) => revocation && median(revocation.delaysMs),
  },
  {
    title: 'revoked tokens are rejected in the other processes: 99th percentile',
    bound: { atMost: 250 },
    unit: 'ms',
    measure: ({ revocation }) => revocation && quantile(revocation.delaysMs, 0.99),
  },
  {
    title: 'p99 of guarded requests during 200 simultaneous logins, relative to no logins',
    bound: { atMost: 3 },
    measure: ({ storm }) => storm && median(storm.rounds.map(({ idleP99Ms, stormP99Ms }) => stormP99Ms / idleP99Ms)),
  },
];
