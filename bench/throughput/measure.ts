import { CONNECTIONS } from '../load/wrk.js';
import type { Postgres } from '../machine/postgres.js';
import { log } from '../report/log.js';
import { type Variant, startVariant, type RunningVariant } from './variants.js';
import { measureRound, measureUndisturbed, type Pace, type Round } from './round.js';

const USER_COUNT = 1000;

export interface Plan extends Pace {
  cycles: number;
  /** Maximum number of attempts for a round that other processes disturb. */
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

/** Measures each variant once per cycle, in random order, so that changes of the machine affect all variants equally. */
export async function measureThroughput(
  variants: readonly Variant[],
  plan: Plan,
  machine: { postgres: Postgres; directory: string },
): Promise<Throughput> {
  const running: RunningVariant[] = [];
  try {
    for (const variant of variants) {
      running.push(await startVariant(variant, USER_COUNT, machine));
      log(`${variant.contestant} on ${variant.adapter} is ready`);
    }
    // Not counted: a variant reaches its full speed only after its code was compiled.
    for (const variant of running) await measureRound(variant, 0, plan, machine.postgres);
    const rounds: Round[] = [];
    for (let cycle = 1; cycle <= plan.cycles; cycle++) {
      for (const variant of shuffled(running)) {
        const measure = () => measureRound(variant, cycle, plan, machine.postgres);
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
    await Promise.all(running.map(({ application }) => application.stop()));
  }
}
