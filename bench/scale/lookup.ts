import { log } from '../report/log.js';
import { median, quantile } from '../report/statistics.js';
import { type PreparedConnection, connect } from './prepared-connection.js';
import type { DatabaseName } from './fill.js';
import { lookUpStatement, type SentStatement } from './statement.js';
import type { FilledTable } from './table.js';

const ROUNDS = 10;
const LOOK_UPS = 2000;

/** Durations in microseconds, or ratios. */
interface Durations {
  median: number;
  p99: number;
}

/** Durations of look-ups of random tokens, and of random rows of a table of the same size by number; medians of all rounds. */
export interface LookUps {
  ours: Durations;
  bare: Durations;
  /** Ratio of `ours` to `bare` within one round. */
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

/** The parameters of a look-up, with the id of another token. */
function valuesFor({ values }: SentStatement, id: unknown): unknown[] {
  const [value, ...others] = values;
  if (others.length > 0) throw new Error('the look-up statement must have one parameter, the token id');
  return [Array.isArray(value) ? [id] : id];
}

async function microseconds(
  connection: PreparedConnection,
  statement: SentStatement,
  values: readonly unknown[],
): Promise<number> {
  const started = performance.now();
  await connection.query(statement, values);
  return (performance.now() - started) * 1000;
}

/** Alternates between both statements on one connection, so that other load on the machine affects both equally. */
export async function measureLookUps(table: FilledTable, tokens: number): Promise<LookUps> {
  const ours = await lookUpStatement(table.options);
  const bare = BARE[table.name];
  const connection = await connect(table.name, table.options);
  const round = async () => {
    const times: Record<'ours' | 'bare', number[]> = { ours: [], bare: [] };
    const turns = [
      async (id: unknown) => times.ours.push(await microseconds(connection, ours, valuesFor(ours, id))),
      async () => times.bare.push(await microseconds(connection, bare, [1 + Math.floor(Math.random() * tokens)])),
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
    const ratios = rounds.map(({ ours: own, bare: other }) => ({
      median: own.median / other.median,
      p99: own.p99 / other.p99,
    }));
    const measured = {
      ours: mediansOf(rounds.map((result) => result.ours)),
      bare: mediansOf(rounds.map((result) => result.bare)),
      ratio: mediansOf(ratios),
    };
    log(`${table.name}, ${tokens} tokens: ${JSON.stringify(measured)}`);
    return measured;
  } finally {
    await connection.close();
  }
}
