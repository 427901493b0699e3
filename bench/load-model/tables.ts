import type { AllCosts, RowBytes, ServerName } from './costs.js';
import { computeGrowth, type Growth, type Inputs, type Work, type WorkName } from './model.js';

const TITLES: Record<ServerName, string> = { postgres: 'PostgreSQL', mariadb: 'MariaDB' };

/** Three digits are more than the model is worth. */
function rounded(value: number): string {
  if (value === 0) return '0';
  const digits = Math.max(0, 1 - Math.floor(Math.log10(value)));
  if (digits > 0) return value.toFixed(Math.min(digits, 3));
  const step = 10 ** Math.max(0, Math.floor(Math.log10(value)) - 1);
  return (Math.round(value / step) * step).toLocaleString('en');
}

const gigabytes = ({ table, indexes }: RowBytes): string => `${rounded(table / 1e9)} + ${rounded(indexes / 1e9)} GB`;

const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

/** Columns after the first are numbers. */
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [row(head), row(head.map((_, index) => (index === 0 ? '---' : '--:'))), ...rows.map(row)].join('\n');

/** The results of the model, in Markdown. */
export function growthTables(inputs: Inputs, costs: AllCosts): string {
  const names = Object.keys(TITLES) as ServerName[];
  const growths = names.map((name) => computeGrowth(inputs, costs[name]));
  const sizes = (title: string, value: (growth: Growth) => string) => [title, ...growths.map(value)];
  const workRow = (title: string, times: string, workOf: (growth: Growth) => Work) => [
    title,
    times,
    ...growths
      .map(workOf)
      .flatMap((work) => [work.statementsPerSecond, work.nodeCores, work.databaseCores].map(rounded)),
  ];
  const { work } = growths[0]!.peak;
  const happening = (Object.keys(work) as WorkName[]).filter((name) => work[name].perSecond > 0);
  return [
    table(
      ['size', ...names.map((name) => TITLES[name])],
      [
        sizes('live tokens', ({ rows }) => rounded(rows.live)),
        sizes('exchanged refresh tokens', ({ rows }) => rounded(rows.exchanged)),
        sizes('expired, not pruned yet', ({ rows }) => rounded(rows.expired)),
        sizes('`auth_token`, table + indexes', ({ tokenBytes }) => gigabytes(tokenBytes)),
        sizes('`auth_user`, table + indexes', ({ userBytes }) => gigabytes(userBytes)),
        sizes('busy connections at the peak', ({ busyConnections }) => rounded(busyConnections)),
        sizes('pool of each process', ({ poolSize }) => String(poolSize)),
      ],
    ),
    table(
      [
        'at the peak',
        'per second',
        ...names.flatMap((name) => [`${TITLES[name]}: statements`, 'cores of Node', 'of the server']),
      ],
      [
        ...happening.map((name) => workRow(name, rounded(work[name].perSecond), ({ peak }) => peak.work[name])),
        workRow('**all**', '', ({ peak }) => peak.total),
      ],
    ),
  ].join('\n\n');
}
