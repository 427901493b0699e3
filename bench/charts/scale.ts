import { SMALL_TABLE_TOKENS, type ScaleResults, TITLES } from '../scale/report.js';
import type { DatabaseName } from '../scale/fill.js';
import { COLORS } from './colors.js';
import type { Chart } from './draw.js';
import { pairsChart } from './pairs.js';
import { bars, column, NAMES_WIDTH, short } from './rows.js';

/** The purpose of an index, for indexes whose columns do not make it obvious. */
const NAMES_OF_INDEXES: Record<string, string> = {
  id: 'primary key',
  user_id: 'by user',
  'sealed_until, purpose, lifespan, created': 'expired tokens',
};

const measured = (results: ScaleResults) =>
  Object.entries(results).map(([name, scale]) => ({ database: TITLES[name as DatabaseName], ...scale }));

/** Shows the duration of a look-up in a small table and in a large one. */
const lookUpsChart = (results: ScaleResults, figure: 'median' | 'p99', chart: Pick<Chart, 'name' | 'title'>): Chart =>
  pairsChart(
    {
      ...chart,
      subtitle: 'A token with its user, compared with one row by a bigint key from a table of the same size.',
      names: ['token + user', 'bare row'],
      unit: 'µs',
    },
    measured(results).flatMap(({ database, tokens, few, many }) =>
      (
        [
          [SMALL_TABLE_TOKENS, few],
          [tokens, many],
        ] as const
      ).map(([count, { ours, bare, ratio }]) => ({
        title: `${database}, ${count.toLocaleString('en')} tokens`,
        ours: ours[figure],
        other: bare[figure],
        ratio: ratio[figure],
      })),
    ),
  );

/** Shows the disk space of a million tokens. */
function sizesChart(results: ScaleResults): Chart {
  const rows = measured(results).flatMap(({ database, tokens, sizes: { table, indexes } }) => {
    const row = (name: string, bytes: number, color: string) => {
      const mib = (bytes / tokens / 2 ** 20) * 1e6;
      return { title: `${database}: ${name}`, mib, label: `${short(mib)} MiB`, color };
    };
    const indexRows = Object.entries(indexes).map(([name, bytes]) =>
      row(NAMES_OF_INDEXES[name] ?? name, bytes, COLORS.ours),
    );
    return [row('table', table, COLORS.others), ...indexRows];
  });
  const width = 300;
  return {
    name: 'sizes',
    title: 'Disk space of a million tokens',
    subtitle: 'In a table that grew token by token. On MariaDB and SQLite the primary key is the table itself.',
    description: rows.map(({ title, label }) => `${title} ${label}`).join('; '),
    size: { width, height: rows.length * 28 },
    margin: { left: NAMES_WIDTH + 20, right: 110 },
    rows,
    layers: [
      bars({
        field: 'mib',
        type: 'quantitative',
        axis: { title: null, tickCount: 4, labelExpr: "datum.label + ' MiB'" },
      }),
      column('label', width + 80, { fontWeight: 600 }),
    ],
  };
}

/** Shows the duration of guarded requests while a million tokens are deleted. */
const pruningChart = (results: ScaleResults): Chart =>
  pairsChart(
    {
      name: 'pruning',
      title: 'Guarded requests while expired tokens are deleted',
      subtitle:
        '99th percentile of the response time, compared with the time when nothing is deleted. Lower is better.',
      names: ['pruning', 'idle'],
      unit: 'ms',
    },
    measured(results).map(({ database, pruning }) => ({
      title: `${database}, ${(pruning.deleted / 1e6).toFixed(1)} million deleted`,
      ours: pruning.pruningP99Ms,
      other: pruning.idleP99Ms,
      ratio: pruning.pruningP99Ms / pruning.idleP99Ms,
    })),
  );

export const scaleCharts = (results: ScaleResults): Chart[] => [
  lookUpsChart(results, 'median', { name: 'look-ups', title: 'A look-up in a small table and in a large one, median' }),
  lookUpsChart(results, 'p99', { name: 'look-ups-p99', title: 'The slowest look-ups, 99th percentile' }),
  sizesChart(results),
  pruningChart(results),
];
