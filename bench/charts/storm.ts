import { median } from '../report/statistics.js';
import type { Storms } from '../storm/measure.js';
import { COLORS } from './colors.js';
import type { Chart } from './draw.js';
import { NAMED_ROW, NAMES_WIDTH, ROW, short } from './rows.js';

/** Shows the duration of guarded requests while many users log in. */
export function stormChart({ rounds, loginsAtOnce, guardedPerSecond }: Storms): Chart {
  const alone = { title: 'no logins', color: COLORS.quiet, values: rounds.map(({ idleP99Ms }) => idleP99Ms) };
  const duringLogins = {
    title: `${loginsAtOnce} simultaneous logins`,
    color: COLORS.ours,
    values: rounds.map(({ stormP99Ms }) => stormP99Ms),
  };
  const groups = [alone, duringLogins];
  const rows = groups.flatMap(({ title, color, values }) => values.map((ms) => ({ title, color, ms })));
  const medians = groups.map(({ title, values }) => ({
    title,
    ms: median(values),
    label: `${short(median(values))} ms`,
  }));
  const x = {
    field: 'ms',
    type: 'quantitative' as const,
    scale: { type: 'log' as const, domain: [1, 400], nice: false },
  };
  return {
    name: 'login-storm',
    title: 'Guarded requests during a storm of logins',
    subtitle: `99th percentile of the response time at ${guardedPerSecond} requests/s; ${rounds.length} rounds and their median. One core, logarithmic.`,
    description: medians.map(({ title, label }) => `${title}: ${label}`).join('; '),
    size: { width: 490, height: 120 },
    margin: { left: NAMES_WIDTH + 20, right: 80 },
    rows,
    layers: [
      {
        mark: { type: 'point', filled: true, size: 90, opacity: 0.45 },
        encoding: {
          y: NAMED_ROW,
          x: { ...x, axis: { title: null, values: [1, 3, 10, 30, 100, 300], labelExpr: "datum.label + ' ms'" } },
          color: { field: 'color', scale: null },
        },
      },
      {
        data: { values: medians },
        mark: { type: 'tick', color: COLORS.ink, thickness: 2.5, size: 26 },
        encoding: { y: ROW, x },
      },
      {
        data: { values: medians },
        mark: { type: 'text', dy: -24, fontWeight: 600 },
        encoding: { y: ROW, x, text: { field: 'label' } },
      },
    ],
  };
}
