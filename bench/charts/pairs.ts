import { COLORS } from './colors.js';
import { type Chart, line } from './draw.js';
import { column, NAMED_ROW, NAMES_WIDTH, ROW, short } from './rows.js';

/** A measurement and the figure to compare it with. */
export interface Pair {
  title: string;
  ours: number;
  other: number;
  ratio: number;
}

/** Draws one row for each pair, and columns with the figures. */
export function pairsChart(
  {
    names,
    unit,
    ...chart
  }: Pick<Chart, 'name' | 'title' | 'subtitle'> & { names: [ours: string, other: string]; unit: string },
  pairs: readonly Pair[],
): Chart {
  const rows = pairs.map(({ title, ours, other, ratio }) => ({
    title,
    ours,
    other,
    label: `${short(ours)} ${unit}`,
    otherLabel: `${short(other)} ${unit}`,
    ratio: `× ${ratio.toFixed(2)}`,
  }));
  const width = 300;
  const max = Math.max(...pairs.flatMap(({ ours, other }) => [ours, other]));
  const x = { type: 'quantitative' as const, scale: { domain: [0, max * 1.05] } };
  const head = (text: string, at: number, color: string) =>
    line(text, at, -12, { align: 'right', color, fontSize: 12 });
  return {
    ...chart,
    description: pairs
      .map(
        ({ title, ours, other }) => `${title}: ${names[0]} ${short(ours)} ${unit}, ${names[1]} ${short(other)} ${unit}`,
      )
      .join('; '),
    size: { width, height: rows.length * 34 },
    margin: { left: NAMES_WIDTH + 20, right: 270 },
    rows,
    layers: [
      {
        mark: { type: 'rule', color: COLORS.others, strokeWidth: 3 },
        encoding: {
          y: NAMED_ROW,
          x: { ...x, field: 'other', axis: { title: null, tickCount: 4, labelExpr: `datum.label + ' ${unit}'` } },
          x2: { field: 'ours' },
        },
      },
      {
        mark: { type: 'point', filled: true, size: 110, color: COLORS.quiet, opacity: 1 },
        encoding: { y: ROW, x: { ...x, field: 'other' } },
      },
      {
        mark: { type: 'point', filled: true, size: 110, color: COLORS.ours, opacity: 1 },
        encoding: { y: ROW, x: { ...x, field: 'ours' } },
      },
      column('label', width + 90, { fontWeight: 600, color: COLORS.ours }),
      column('otherLabel', width + 180, { color: COLORS.quiet }),
      column('ratio', width + 250),
      head(names[0], width + 90, COLORS.ours),
      head(names[1], width + 180, COLORS.quiet),
    ],
  };
}
