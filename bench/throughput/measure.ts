import { CONNECTIONS } from '../load/wrk.js';
import type { Postgres } from '../machine/postgres.js';
import { log } from '../report/log.js';
import { type Entrant, lineUp, type Runner } from './lineup.js';
import { measureRound, measureUndisturbed, type Pace, type Round } from './round.js';

const USER_COUNT = 1000;

export interface Plan extends Pace {
  cycles: number;
  /** How often a round is measured at most, where other processes disturb it. */
  attempts: number;
}

export interface Throughput {
  settings: Plan & { users: number; connections: number };
  rounds: Round[];
}

function shuffled<T>(values: readonly T[]): T[] {
  const keyed = values.map((value) => ({ value, key: Math.random() }));
  return keyed.toSorted((a, b) => a.key - b.key).map(({ value }) => value);
}

/** Measures each entrant once in each cycle, in another order each time, so that what a machine does to one it does to all. */
export async function measureThroughput(
  entrants: readonly Entrant[],
  plan: Plan,
  machine: { postgres: Postgres; directory: string },
): Promise<Throughput> {
  const runners: Runner[] = [];
  try {
    for (const entrant of entrants) {
      runners.push(await lineUp(entrant, USER_COUNT, machine));
      log(`${entrant.contestant} on ${entrant.adapter} is ready`);
    }
    // Not counted: it is as fast only once the compiler has seen it run.
    for (const runner of runners) await measureRound(runner, 0, plan, machine.postgres);
    const rounds: Round[] = [];
    for (let cycle = 1; cycle <= plan.cycles; cycle++) {
      for (const runner of shuffled(runners)) {
        const measure = () => measureRound(runner, cycle, plan, machine.postgres);
        const round = await measureUndisturbed(plan.attempts, measure);
        rounds.push(round);
        const { contestant, adapter, requestsPerSecond, othersCores } = round;
        log(
          `cycle ${cycle}: ${contestant} on ${adapter}: ${requestsPerSecond} requests/s, others ${othersCores} cores`,
        );
      }
    }
    return { settings: { ...plan, users: USER_COUNT, connections: CONNECTIONS }, rounds };
  } finally {
    await Promise.all(runners.map(({ application }) => application.stop()));
  }
}
