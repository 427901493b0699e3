import { median, quantile } from '../report/statistics.js';
import type { Revocations } from '../revocation/measure.js';
import { COLORS } from './colors.js';
import type { Chart } from './draw.js';
import { short } from './rows.js';

const marks = [
  { name: 'median', share: 0.5 },
  { name: '99th percentile', share: 0.99 },
  { name: 'slowest', share: 1 },
] as const;

/** Shows the share of revocations that took effect in all processes within a given time. */
export function revocationChart({ delaysMs, processes, loadPerSecond }: Revocations): Chart {
  const sorted = delaysMs.toSorted((a, b) => a - b);
  // Equal delays make one step of the curve.
  const rows = sorted.flatMap((ms, index) =>
    ms === sorted[index + 1] ? [] : [{ ms, share: (index + 1) / sorted.length }],
  );
  const highlights = marks.map(({ name, share }) => {
    const ms = quantile(delaysMs, share);
    return { ms, share, label: `${short(ms)} ms`, name };
  });
  const x = { field: 'ms', type: 'quantitative' as const };
  const y = { field: 'share', type: 'quantitative' as const };
  return {
    name: 'revocation',
    title: `How soon the other ${processes - 1} processes reject a revoked token`,
    subtitle: `Share of ${delaysMs.length.toLocaleString('en')} revocations, by the time since the response to the logout; ${loadPerSecond} requests/s to each process.`,
    description: `Median ${short(median(delaysMs))} ms. ${highlights.map(({ name, label }) => `${name}: ${label}`).join('; ')}`,
    size: { width: 680, height: 260 },
    margin: { left: 70, right: 90 },
    rows,
    layers: [
      {
        mark: { type: 'area', interpolate: 'step-after', color: COLORS.ours, opacity: 0.12 },
        encoding: { x, y },
      },
      {
        mark: { type: 'line', interpolate: 'step-after', color: COLORS.ours, strokeWidth: 2.5 },
        encoding: {
          x: { ...x, axis: { title: null, grid: false, tickCount: 5, labelExpr: "datum.label + ' ms'" } },
          y: { ...y, axis: { title: null, format: '.0%', values: [0, 0.25, 0.5, 0.75, 1] } },
        },
      },
      {
        data: { values: highlights },
        mark: { type: 'point', filled: true, size: 90, color: COLORS.ours, opacity: 1 },
        encoding: { x, y },
      },
      {
        data: { values: highlights },
        mark: { type: 'text', align: 'left', dx: 10, dy: 16, fontWeight: 600 },
        encoding: { x, y, text: { field: 'label' } },
      },
      {
        data: { values: highlights },
        mark: { type: 'text', align: 'left', dx: 10, dy: 32, color: COLORS.quiet, fontSize: 12 },
        encoding: { x, y, text: { field: 'name' } },
      },
    ],
  };
}
