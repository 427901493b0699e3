import { log } from '../report/log.js';
import { median, quantile } from '../report/statistics.js';
import { type Asker, askerOf } from './asker.js';
import type { DatabaseName } from './fill.js';
import { lookUpStatement, type SentStatement } from './statement.js';
import type { FilledTable } from './table.js';

const ROUNDS = 10;
const LOOK_UPS = 2000;

/** In microseconds, or as a ratio. */
interface Durations {
  median: number;
  p99: number;
}

/** Of look-ups of random tokens, and of random rows of a table of as many by a number: medians of the rounds. */
export interface LookUps {
  ours: Durations;
  bare: Durations;
  /** Of ours to bare in one round. */
  ratio: Durations;
}

const BARE: Record<DatabaseName, SentStatement> = {
  postgres: { name: 'bare', sql: 'SELECT * FROM bare WHERE number = $1', values: [] },
  mariadb: { sql: 'SELECT * FROM bare WHERE number = ?', values: [] },
  sqlite: { sql: 'SELECT * FROM bare WHERE number = ?', values: [] },
};

const durationsOf = (times: readonly number[]): Durations => ({
  median: median(times),
  p99: quantile(times, 0.99),
});

const mediansOf = (rounds: readonly Durations[]): Durations => ({
  median: median(rounds.map((round) => round.median)),
  p99: median(rounds.map((round) => round.p99)),
});

/** The values of a look-up, for another token. */
function valuesFor({ values }: SentStatement, id: unknown): unknown[] {
  const [value, ...others] = values;
  if (others.length > 0) throw new Error('a look-up of one token has more values than its id');
  return [Array.isArray(value) ? [id] : id];
}

async function microseconds(asker: Asker, statement: SentStatement, values: readonly unknown[]): Promise<number> {
  const started = performance.now();
  await asker.ask(statement, values);
  return (performance.now() - started) * 1000;
}

/** Measures both by turns, on one connection: what else the machine does hits them alike. */
export async function measureLookUps(table: FilledTable, tokens: number): Promise<LookUps> {
  const ours = await lookUpStatement(table.options);
  const bare = BARE[table.name];
  const asker = await askerOf(table.name, table.options);
  const round = async () => {
    const times: Record<'ours' | 'bare', number[]> = { ours: [], bare: [] };
    const turns = [
      async (id: unknown) => times.ours.push(await microseconds(asker, ours, valuesFor(ours, id))),
      async () => times.bare.push(await microseconds(asker, bare, [1 + Math.floor(Math.random() * tokens)])),
    ];
    for (const id of await table.randomIds(LOOK_UPS)) {
      turns.reverse();
      for (const turn of turns) await turn(id);
    }
    return { ours: durationsOf(times.ours), bare: durationsOf(times.bare) };
  };
  try {
    await round();
    const rounds: Awaited<ReturnType<typeof round>>[] = [];
    while (rounds.length < ROUNDS) rounds.push(await round());
    const ratios = rounds.map((of) => ({ median: of.ours.median / of.bare.median, p99: of.ours.p99 / of.bare.p99 }));
    const measured = {
      ours: mediansOf(rounds.map((of) => of.ours)),
      bare: mediansOf(rounds.map((of) => of.bare)),
      ratio: mediansOf(ratios),
    };
    log(`${table.name}, ${tokens} tokens: ${JSON.stringify(measured)}`);
    return measured;
  } finally {
    await asker.close();
  }
}
