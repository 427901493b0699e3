import type { Adapter } from '../contestants/contestant.js';
import type { ContestantName } from '../contestants/roster.js';
import { median } from '../report/statistics.js';
import type { Throughput } from './measure.js';
import type { Round } from './round.js';

/** What of a round is compared. */
export type Metric = 'requestsPerSecond' | 'postgresCpuUsPerRequest';

export const roundsOf = ({ rounds }: Throughput, contestant: ContestantName, adapter: Adapter): Round[] =>
  rounds.filter((round) => round.contestant === contestant && round.adapter === adapter);

/** Ratios of two contestants in each cycle: what disturbs a machine for minutes disturbs both. */
export function ratios(
  throughput: Throughput,
  adapter: Adapter,
  ours: ContestantName,
  theirs: ContestantName,
  metric: Metric = 'requestsPerSecond',
): number[] {
  const others = new Map(roundsOf(throughput, theirs, adapter).map((round) => [round.cycle, round[metric]]));
  return roundsOf(throughput, ours, adapter)
    .filter(({ cycle }) => others.has(cycle))
    .map((round) => round[metric] / others.get(round.cycle)!);
}

/** @returns undefined where one of the two was not measured */
export function ratio(...of: Parameters<typeof ratios>): number | undefined {
  const all = ratios(...of);
  return all.length > 0 ? median(all) : undefined;
}
