import type { Adapter } from '../contestants/contestant.js';
import type { ContestantName } from '../contestants/roster.js';
import { median } from '../report/statistics.js';
import type { Throughput } from './measure.js';
import type { Round } from './round.js';

/** The figure of a round that is compared. */
export type Metric = 'requestsPerSecond' | 'postgresCpuUsPerRequest';

export const roundsOf = ({ rounds }: Throughput, contestant: ContestantName, adapter: Adapter): Round[] =>
  rounds.filter((round) => round.contestant === contestant && round.adapter === adapter);

/** Ratio of two contestants in each cycle. A disturbance of several minutes affects both, so the ratio stays valid. */
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

/** @returns the median of {@link ratios}; undefined if one of the two contestants was not measured */
export function ratio(...parameters: Parameters<typeof ratios>): number | undefined {
  const all = ratios(...parameters);
  return all.length > 0 ? median(all) : undefined;
}
