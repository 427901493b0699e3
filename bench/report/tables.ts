import type { Adapter } from '../contestants/contestant.js';
import { CONTESTANT_NAMES, type ContestantName, ROSTER } from '../contestants/roster.js';
import { ratio, roundsOf } from '../throughput/ratios.js';
import type { Throughput } from '../throughput/measure.js';
import { MAX_OTHERS_CORES } from '../throughput/round.js';
import { type Claim, CLAIMS, isMet } from './claims.js';
import type { Results } from './results.js';
import { median, quantile, spread } from './statistics.js';

const ADAPTERS: Record<Adapter, string> = { express: 'Express', fastify: 'Fastify' };

const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

/** Columns after the first are numbers. */
const table = (head: readonly string[], rows: readonly string[][]): string =>
  [row(head), row(head.map((_, index) => (index === 0 ? '---' : '--:'))), ...rows.map(row)].join('\n');

const fixed = (value: number | undefined, digits = 2): string => value?.toFixed(digits) ?? '–';

function contestantRow(throughput: Throughput, contestant: ContestantName, adapter: Adapter): string[] | undefined {
  const rounds = roundsOf(throughput, contestant, adapter);
  if (rounds.length === 0) return undefined;
  const medianOf = (key: 'requestsPerSecond' | 'p99Ms' | 'postgresCpuUsPerRequest' | 'serverCpuShare') =>
    median(rounds.map((round) => round[key]));
  return [
    ROSTER[contestant].title,
    fixed(medianOf('requestsPerSecond'), 0),
    `${fixed(spread(rounds.map(({ requestsPerSecond }) => requestsPerSecond)) * 100, 0)} %`,
    fixed(ratio(throughput, adapter, contestant, 'no-guard')),
    fixed(ratio(throughput, adapter, contestant, 'jwt-tuned')),
    fixed(medianOf('p99Ms'), 1),
    fixed(medianOf('serverCpuShare') * 100, 0) + ' %',
    fixed(medianOf('postgresCpuUsPerRequest'), 0),
  ];
}

function throughputTable(throughput: Throughput, adapter: Adapter): string | undefined {
  const all = CONTESTANT_NAMES.map((contestant) => contestantRow(throughput, contestant, adapter));
  const rows = all.filter((cells) => cells !== undefined);
  if (rows.length === 0) return undefined;
  const head = ['requests/s', 'spread', '÷ no guard', '÷ JWT tuned', 'p99, ms', 'server’s CPU', 'PostgreSQL, µs'];
  return table([ADAPTERS[adapter], ...head], rows);
}

function claimRow(claim: Claim, results: Results): string[] {
  const { title, adapter, bound, unit } = claim;
  const measured = claim.measure(results);
  const suffix = unit ? ` ${unit}` : '';
  const target = 'atLeast' in bound ? `≥ ${bound.atLeast}` : `≤ ${bound.atMost}`;
  return [
    title,
    adapter ? ADAPTERS[adapter] : '–',
    target + suffix,
    measured === undefined ? '–' : fixed(measured, unit ? 1 : 2) + suffix,
    measured === undefined ? 'not measured' : isMet(claim, measured) ? 'yes' : '**no**',
  ];
}

/** The targets and the measurements. */
export const claimsTable = (results: Results): string =>
  table(
    ['Ratio of requests per second, unless stated otherwise', 'adapter', 'target', 'measured', 'met'],
    CLAIMS.map((claim) => claimRow(claim, results)),
  );

function throughputText(throughput: NonNullable<Results['throughput']>): string {
  const { rounds, settings } = throughput;
  const disturbed = rounds.filter(({ othersCores }) => othersCores > MAX_OTHERS_CORES).length;
  return [
    `Medians of ${settings.cycles} cycles of ${settings.seconds} s each; ${settings.connections} connections, ${settings.users} tokens in rotation. ` +
      `In ${disturbed} of ${rounds.length} rounds other processes used more than ${MAX_OTHERS_CORES} of a core.`,
    throughputTable(throughput, 'express'),
    throughputTable(throughput, 'fastify'),
  ]
    .filter((text) => text !== undefined)
    .join('\n\n');
}

function revocationText({ delaysMs, pollMs, processes, loadPerSecond }: NonNullable<Results['revocation']>): string {
  const [middle, late] = [median(delaysMs), quantile(delaysMs, 0.99)];
  return (
    `${delaysMs.length} revocations through one of ${processes} processes, each of which serves ${loadPerSecond} requests a second. Time from the response to the logout until all other processes reject the token: ` +
    `median ${fixed(middle, 1)} ms, 99th percentile ${fixed(late, 1)} ms, maximum ${fixed(Math.max(...delaysMs), 1)} ms. ` +
    `Each process was polled every ${fixed(pollMs.median, 1)} ms (99th percentile ${fixed(pollMs.p99, 1)} ms), so the real delays may be shorter by that much.`
  );
}

function stormText({ rounds, loginsAtOnce, guardedPerSecond }: NonNullable<Results['storm']>): string {
  const medianOf = (key: keyof (typeof rounds)[number]) => median(rounds.map((round) => round[key]));
  return (
    `${guardedPerSecond} guarded requests a second: p99 ${fixed(medianOf('idleP99Ms'), 1)} ms without logins, ${fixed(medianOf('stormP99Ms'), 1)} ms during ${loginsAtOnce} simultaneous ` +
    `logins, which took ${fixed(medianOf('loginsMs') / 1000, 1)} s. Medians of ${rounds.length} rounds.`
  );
}

function versionsText(results: Results): string {
  const runs = Object.values(results).toSorted((a, b) => b.date.localeCompare(a.date));
  const days = [...new Set(runs.map(({ date }) => date.slice(0, 10)))].join(', ');
  const versions = Object.entries(runs[0]?.versions ?? {}).map(([name, version]) => `${name} ${String(version)}`);
  return `Measured on ${days}: ${versions.join(', ')}.`;
}

/** All results in Markdown. */
export function markdown(results: Results): string {
  const { throughput, revocation, storm } = results;
  const parts: [heading: string, text: string | undefined][] = [
    ['Targets and results', claimsTable(results)],
    ['Throughput', throughput && throughputText(throughput)],
    ['Revocations in several processes', revocation && revocationText(revocation)],
    ['A storm of logins', storm && stormText(storm)],
    ['Versions', versionsText(results)],
  ];
  return parts.flatMap(([heading, text]) => (text === undefined ? [] : [`### ${heading}`, text])).join('\n\n');
}
