import type { Adapter } from '../contestants/contestant.js';
import { CONTESTANT_NAMES, type ContestantName } from '../contestants/roster.js';
import { median, quantile } from '../report/statistics.js';
import type { Throughput } from '../throughput/measure.js';
import { ratios, roundsOf } from '../throughput/ratios.js';
import { COLORS } from './colors.js';
import type { Chart } from './draw.js';
import { bars, column, NAMES_WIDTH, ROW } from './rows.js';

const TITLES: Record<ContestantName, string> = {
  'no-guard': 'no guard',
  'jwt-documented': 'passport-jwt, as documented',
  'jwt-tuned': 'passport-jwt, tuned',
  'naive-port': 'DRF tutorial, ported by hand',
  'express-session': 'express-session',
  'better-auth': 'better-auth, bearer',
  'better-auth-cookie-cache': 'better-auth, cookie cache',
  'prepared-join': 'one prepared join, PostgreSQL',
  'prepared-join-sqlite': 'one prepared join, SQLite',
  ours: 'this package, PostgreSQL',
  'ours-through-passport': 'this package, through Passport',
  'ours-sqlite': 'this package, SQLite',
  'ours-cached': 'this package, cached',
  'ours-last-use': 'this package, last use per minute',
  'ours-no-last-use': 'this package, last use never written',
};

const ADAPTERS: Record<Adapter, string> = { express: 'Express', fastify: 'Fastify' };

/** Shows requests per second relative to the application without a guard, fastest first. */
export function throughputChart(throughput: Throughput, adapter: Adapter): Chart {
  const rows = CONTESTANT_NAMES.flatMap((name) => {
    const shares = ratios(throughput, adapter, name, 'no-guard');
    if (shares.length === 0) return [];
    const perSecond = median(roundsOf(throughput, name, adapter).map(({ requestsPerSecond }) => requestsPerSecond));
    const [low, share, high] = [0.25, 0.5, 0.75].map((part) => quantile(shares, part)) as [number, number, number];
    return [
      {
        title: TITLES[name],
        share,
        low,
        high,
        color: name.startsWith('ours') ? COLORS.ours : COLORS.others,
        label: `${Math.round(share * 100)}%`,
        perSecond: `${Math.round(perSecond).toLocaleString('en')}/s`,
      },
    ];
  }).toSorted((a, b) => b.share - a.share);
  const width = 440;
  const x = { type: 'quantitative' as const, scale: { domain: [0, 1.1] } };
  return {
    name: `throughput-${adapter}`,
    title: `${ADAPTERS[adapter]}: requests per second, relative to no guard`,
    subtitle: `Medians of ${throughput.settings.cycles} cycles; the line spans the middle half of the cycles. Higher is better.`,
    description: rows.map(({ title, label, perSecond }) => `${title}: ${label}, ${perSecond}`).join('; '),
    size: { width, height: rows.length * 28 },
    margin: { left: NAMES_WIDTH + 20, right: 130 },
    rows,
    layers: [
      bars({ ...x, field: 'share', axis: { format: '.0%', values: [0, 0.25, 0.5, 0.75, 1], title: null } }),
      {
        mark: { type: 'rule', color: COLORS.ink, strokeWidth: 1.5 },
        encoding: { y: ROW, x: { ...x, field: 'low' }, x2: { field: 'high' } },
      },
      column('label', width + 45, { fontWeight: 600 }),
      column('perSecond', width + 115, { color: COLORS.quiet }),
    ],
  };
}
