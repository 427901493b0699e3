import { FEW, type ScaleResults, TITLES } from '../scale/report.js';
import type { DatabaseName } from '../scale/fill.js';
import type { Chart } from './draw.js';
import { pairsChart } from './pairs.js';

const measured = (results: ScaleResults) =>
  Object.entries(results).map(([name, scale]) => ({ database: TITLES[name as DatabaseName], ...scale }));

/** What a look-up takes in a small table and in a large one. */
export const lookUpsChart = (results: ScaleResults): Chart =>
  pairsChart(
    {
      name: 'look-ups',
      title: 'A look-up in a small table and in a large one',
      subtitle: 'Median of a token with its user, and of one row by a bigint key from a table of as many, by turns.',
      names: ['token + user', 'bare row'],
      unit: 'µs',
    },
    measured(results).flatMap(({ database, tokens, few, many }) =>
      (
        [
          [FEW, few],
          [tokens, many],
        ] as const
      ).map(([count, { ours, bare, ratio }]) => ({
        title: `${database}, ${count.toLocaleString('en')} tokens`,
        ours: ours.median,
        other: bare.median,
        ratio: ratio.median,
      })),
    ),
  );

/** What guarded requests take while a million tokens are deleted. */
export const pruningChart = (results: ScaleResults): Chart =>
  pairsChart(
    {
      name: 'pruning',
      title: 'Guarded requests while expired tokens are deleted',
      subtitle: `99th percentile of the time to the answer, and that of a quiet time. Lower is better.`,
      names: ['pruning', 'quiet'],
      unit: 'ms',
    },
    measured(results).map(({ database, pruning }) => ({
      title: `${database}, ${(pruning.deleted / 1e6).toFixed(1)} million deleted`,
      ours: pruning.pruningP99Ms,
      other: pruning.idleP99Ms,
      ratio: pruning.pruningP99Ms / pruning.idleP99Ms,
    })),
  );
