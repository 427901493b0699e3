import { median } from '../report/statistics.js';

/** CPU time by what was measured and by round, in microseconds. */
type Rounds<Name extends string> = Readonly<Record<Name, readonly number[]>>;

/** The highest ratio of two figures at which a check succeeds. */
export interface Bound<Name extends string> {
  readonly measured: Name;
  readonly peer: Name;
  readonly atMost: number;
}

const namesOf = <Name extends string>(rounds: Rounds<Name>) => Object.keys(rounds) as Name[];

/** The best round: other processes can only make a round slower. */
const best = <Name extends string>(rounds: Rounds<Name>, name: Name): number => Math.min(...rounds[name]);

/** A table in Markdown, with the ratio of each figure to that of a peer. */
export function cpuTable<Name extends string>(title: string, rounds: Rounds<Name>, peer: Name): string {
  const rows = namesOf(rounds).map((name) => {
    const us = best(rounds, name);
    return `| ${name} | ${us.toFixed(1)} | ${median(rounds[name]).toFixed(1)} | ${(us / best(rounds, peer)).toFixed(2)} |`;
  });
  return [`| ${title} | best round, µs | median, µs | ÷ ${peer} |`, '| --- | --: | --: | --: |', ...rows].join('\n');
}

/** Describes the figures that are above their bounds, one line each. */
export function excesses<Name extends string>(bounds: readonly Bound<Name>[], rounds: Rounds<Name>): string[] {
  return bounds.flatMap(({ measured, peer, atMost }) => {
    const ratio = best(rounds, measured) / best(rounds, peer);
    // A figure that could not be measured is no good one.
    return ratio > 0 && ratio <= atMost ? [] : [`CPU of ${measured} ÷ ${peer}: ${ratio.toFixed(2)}, bound ${atMost}`];
  });
}
