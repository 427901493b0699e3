import type { DatabaseName } from './fill.js';
import type { LookUps } from './lookup.js';
import type { Pruning } from './prune.js';
import type { Sizes } from './table.js';

/** Number of tokens in the small table. */
export const SMALL_TABLE_TOKENS = 10_000;

/** The results of one database. */
export interface Scale {
  date: string;
  node: string;
  version: string;
  tokens: number;
  /** Number of tokens of each user. */
  perUser: number;
  sizes: Sizes;
  /** With {@link SMALL_TABLE_TOKENS} tokens. */
  few: LookUps;
  many: LookUps;
  pruning: Pruning;
}

export type ScaleResults = Partial<Record<DatabaseName, Scale>>;

export const TITLES: Record<DatabaseName, string> = { postgres: 'PostgreSQL', mariadb: 'MariaDB', sqlite: 'SQLite' };

const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

/** Columns after the first are numbers. */
const table = (head: readonly string[], rows: readonly string[][]): string =>
  [row(head), row(head.map((_, index) => (index === 0 ? '---' : '--:'))), ...rows.map(row)].join('\n');

const grouped = (value: number) => value.toLocaleString('en');

function lookUpRow(title: string, tokens: number, { ours, bare, ratio }: LookUps): string[] {
  const durations = [ours.median, bare.median, ratio.median, ours.p99, bare.p99, ratio.p99];
  return [title, grouped(tokens), ...durations.map((value, index) => value.toFixed(index % 3 === 2 ? 2 : 0))];
}

function sizeRows(title: string, { tokens, sizes }: Scale): string[][] {
  const all = Object.values(sizes.indexes).reduce((sum, bytes) => sum + bytes, 0);
  const parts = { table: sizes.table, ...sizes.indexes, 'all indexes': all };
  return Object.entries(parts).map(([part, bytes]) => [
    `${title}: ${part}`,
    (bytes / 2 ** 20 / (tokens / 1e6)).toFixed(1),
  ]);
}

const pruningRow = (title: string, pruning: Pruning): string[] => [
  title,
  grouped(pruning.deleted),
  (pruning.tookMs / 1000).toFixed(0),
  pruning.idleP99Ms.toFixed(1),
  pruning.pruningP99Ms.toFixed(1),
  (pruning.pruningP99Ms / pruning.idleP99Ms).toFixed(2),
  pruning.pruningMaxMs.toFixed(0),
];

/** All results in Markdown. */
export function scaleMarkdown(results: ScaleResults): string {
  const all = Object.entries(results).map(([name, scale]) => [TITLES[name as DatabaseName], scale] as const);
  const measured = all.map(
    ([title, { date, node, version }]) => `${title} ${version} with node ${node} on ${date.slice(0, 10)}`,
  );
  return [
    `Measured: ${measured.join(', ')}; ${all[0]?.[1].perUser} tokens per user.`,
    '## Look-ups',
    'Look-ups of random tokens with the statement of the package, which includes the user, compared with a prepared statement that selects a row by a `bigint` primary key from a table of the same size (bare). The two statements alternate. In microseconds; medians of ten rounds.',
    table(
      ['', 'tokens', 'median', 'bare', 'ratio', 'p99', 'bare', 'ratio'],
      all.flatMap(([title, { tokens, few, many }]) => [
        lookUpRow(title, SMALL_TABLE_TOKENS, few),
        lookUpRow(title, tokens, many),
      ]),
    ),
    '## Sizes',
    'Sizes in a table that grew token by token. On MariaDB and SQLite the primary key is the table itself.',
    table(
      ['', 'MiB per million tokens'],
      all.flatMap(([title, scale]) => sizeRows(title, scale)),
    ),
    '## Pruning',
    `Pruning during ${all[0]?.[1].pruning.perSecond} guarded requests per second, all of which got status 200. In milliseconds, unless stated otherwise.`,
    table(
      ['', 'tokens pruned', 'duration, s', 'p99 idle', 'p99 pruning', 'ratio', 'max'],
      all.map(([title, { pruning }]) => pruningRow(title, pruning)),
    ),
  ].join('\n\n');
}
