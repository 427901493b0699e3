/**
 * Compares ways to partition `auth_token` on PostgreSQL with the ordinary table: how many partitions each statement of the
 * package reads, and what look-ups and pruning cost. Run it with `npm run bench:partitioning`.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { format } from 'prettier';
import { Client } from 'pg';
import { Postgres } from '../machine/postgres.js';
import { log } from '../report/log.js';
import { median } from '../report/statistics.js';
import { connect, type PreparedConnection } from '../scale/prepared-connection.js';
import type { SentStatement } from '../scale/statement.js';
import { type Filling, tokenIdIn, USER_AGENT } from '../scale/fill.js';
import { type Run, runOperations, BATCH } from './operations.js';
import { partitionsRead } from './plans.js';
import { createSource, createVariant, type Variant, type VariantName, VARIANTS } from './variants.js';

const USAGE = `node bench/dist/partitioning/main.js [options]

  --tokens <number>      10000000 by default
  --partitions <number>  16 by default
  --keep                 write bench/results/partitioning.md even if other options are given
`;

const RESULT = fileURLToPath(new URL('../../results/partitioning.md', import.meta.url));
const DAY_MS = 86_400_000;
/** Age of the oldest tokens: with a lifespan of 30 days and a retention of 7, a sixth of them is pruned. */
const AGE_DAYS = 44;
const TOKENS_PER_USER = 10;
const ROUNDS = 5;
const LOOK_UPS = 800;
const WARM_UP = 10;

/** So that the tables are filled sooner. Nothing of this affects what is measured. */
const SETTINGS = {
  fsync: 'off',
  wal_level: 'minimal',
  max_wal_senders: '0',
  max_wal_size: '8GB',
  maintenance_work_mem: '1GB',
};

/** The costs of look-ups, in microseconds. */
interface LookUpCost {
  /** Median of the duration in the best round. */
  durationUs: number;
  /** CPU time of PostgreSQL in the best round. */
  cpuUs: number;
}

/** A filled table. */
interface Table {
  name: VariantName;
  variant: Variant;
  url: string;
  run: Run;
  /** The most partitions that a statement of each operation reads. */
  read: Record<string, number>;
}

/** How long it took to drop a partition, and how many tokens it held. */
interface Drop {
  rows: number;
  ms: number;
}

/** Runs some work with a connection. */
async function withClient<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

const randomIds = (url: string, filling: Filling, count: number): Promise<string[]> =>
  withClient(url, async (client) => {
    const numbers = Array.from({ length: count }, () => 1 + Math.floor(Math.random() * filling.tokens));
    const sql = `SELECT ${tokenIdIn('postgres', filling)} AS id FROM unnest($1::bigint[]) AS numbers(n)`;
    return (await client.query<{ id: string }>(sql, [numbers])).rows.map(({ id }) => id);
  });

/** The look-up of the package, and the same as a join with the list of ids, for which PostgreSQL can choose the partition. */
function lookUpStatements({ recorded }: Run): { package: SentStatement; joined: SentStatement } {
  const statement = recorded['look-up']!.find(({ sql }) => /^SELECT.*unnest/s.test(sql))!;
  const sql = statement.sql
    .replace('FROM "auth_token" t', 'FROM unnest($1::uuid[]) AS wanted(id) JOIN "auth_token" t ON t."id" = wanted.id')
    .replace(/ WHERE t\."id" = ANY\(.*$/, '');
  return { package: statement, joined: { ...statement, sql, name: 'joined' } };
}

/** Looks up tokens, some with each statement, and returns the duration of each statement. */
async function lookUp(
  connection: PreparedConnection,
  statement: SentStatement,
  ids: string[],
  size: number,
): Promise<number[]> {
  const durationsUs: number[] = [];
  for (let at = 0; at + size <= ids.length; at += size) {
    const started = performance.now();
    await connection.query(statement, [ids.slice(at, at + size)]);
    durationsUs.push((performance.now() - started) * 1000);
  }
  return durationsUs;
}

/** The tables take turns, so that other load on the machine affects all of them. */
async function measureLookUps(
  postgres: Postgres,
  tables: readonly Table[],
  filling: Filling,
  { size, form }: { size: number; form: 'package' | 'joined' },
): Promise<Map<VariantName, LookUpCost>> {
  const costs = new Map<VariantName, LookUpCost>();
  // The first round warms up and does not count.
  for (let round = 0; round <= ROUNDS; round++) {
    for (const { name, url, run } of tables) {
      const statement = lookUpStatements(run)[form];
      const ids = await randomIds(url, filling, LOOK_UPS);
      const connection = await connect('postgres', { type: 'postgres', url });
      // The statement is planned for the first executions, which do not count.
      await lookUp(connection, statement, ids.slice(0, WARM_UP * size), size);
      const cpuBeforeUs = postgres.cpuMicroseconds();
      const durationsUs = await lookUp(connection, statement, ids, size);
      const cpuUs = (postgres.cpuMicroseconds() - cpuBeforeUs) / durationsUs.length;
      await connection.close();
      if (round === 0) continue;
      const { durationUs: bestUs, cpuUs: bestCpuUs } = costs.get(name) ?? { durationUs: Infinity, cpuUs: Infinity };
      costs.set(name, { durationUs: Math.min(bestUs, median(durationsUs)), cpuUs: Math.min(bestCpuUs, cpuUs) });
    }
  }
  return costs;
}

const dropOldest = (url: string): Promise<Drop> =>
  withClient(url, async (client) => {
    const { rows } = await client.query('SELECT count(*)::int AS found FROM auth_token_p0');
    const started = performance.now();
    await client.query('DROP TABLE auth_token_p0');
    return { rows: rows[0].found, ms: performance.now() - started };
  });

const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;

function report(
  tables: readonly Table[],
  lookUps: readonly (readonly [title: string, costs: ReadonlyMap<VariantName, LookUpCost>])[],
  drop: Drop,
  measured: string,
): string {
  const head = ['', ...tables.map(({ variant }) => variant.title)];
  const start = [row(head), row(head.map((_, index) => (index === 0 ? '---' : '--:')))];
  const line = (title: string, value: (each: Table) => string) => row([title, ...tables.map(value)]);
  return [
    '# Results of `npm run bench:partitioning`',
    `Measured: ${measured}.`,
    '## Partitions read',
    'The most partitions that one statement of the operation reads. The other statements of a login insert rows.',
    [
      ...start,
      ...Object.keys(tables[0]!.read).map((operation) => line(operation, ({ read }) => String(read[operation]))),
    ].join('\n'),
    '## Costs',
    `In microseconds, each from the best of ${ROUNDS} rounds in which the tables take turns. The duration is the median of a round as the client sees it; CPU is that of all PostgreSQL processes.`,
    [
      ...start,
      ...lookUps.flatMap(([title, costs]) => [
        line(`${title}: duration`, ({ name }) => costs.get(name)!.durationUs.toFixed(0)),
        line(`${title}: CPU`, ({ name }) => costs.get(name)!.cpuUs.toFixed(0)),
      ]),
      line('pruning: CPU for each token', ({ run }) => (run.pruneCpuUs / run.pruned).toFixed(1)),
    ].join('\n'),
    `It took ${drop.ms.toFixed(0)} ms to drop the oldest partition by time, with ${drop.rows.toLocaleString('en')} tokens.`,
    '## Synchronize',
    'The statements with which `synchronize` of TypeORM would change the schema:',
    tables
      .map(({ variant, run: { synchronize } }) => {
        const statements = synchronize.map((sql) => `\`${sql}\``).join('; ');
        return `- ${variant.title}: ${statements || 'none'}`;
      })
      .join('\n'),
  ].join('\n\n');
}

async function createTable(
  postgres: Postgres,
  databaseUrl: string,
  name: VariantName,
  filling: Filling,
  partitions: number,
): Promise<Table> {
  const variant = VARIANTS[name];
  const started = performance.now();
  const url = await createVariant(name, databaseUrl, filling, partitions);
  log(`${name}: filled in ${((performance.now() - started) / 1000).toFixed(0)} s`);
  const done = await runOperations(url, () => postgres.cpuMicroseconds());
  const read: Record<string, number> = {};
  for (const [operation, statements] of Object.entries(done.recorded)) {
    for (const statement of statements) {
      const count = await partitionsRead(url, statement);
      log(`${name}, ${operation}: ${count}: ${statement.sql.slice(0, 100)}`);
      read[operation] = Math.max(read[operation] ?? 0, count);
    }
  }
  return { name, variant, url, run: done, read };
}

async function measure(postgres: Postgres, tokens: number, partitions: number): Promise<string> {
  const until = Date.now();
  const users = Math.ceil(tokens / TOKENS_PER_USER);
  const filling: Filling = { tokens, users, from: until - AGE_DAYS * DAY_MS, until, userAgent: USER_AGENT };
  const databaseUrl = await postgres.createDatabase('ext_growth');
  log(`filling ${tokens} rows`);
  await createSource(databaseUrl, filling);
  const tables: Table[] = [];
  for (const name of Object.keys(VARIANTS) as VariantName[]) {
    tables.push(await createTable(postgres, databaseUrl, name, filling, partitions));
  }
  const lookUps = [
    ['look-up', await measureLookUps(postgres, tables, filling, { size: 1, form: 'package' })],
    [`${BATCH} look-ups`, await measureLookUps(postgres, tables, filling, { size: BATCH, form: 'package' })],
    ['look-up by a join', await measureLookUps(postgres, tables, filling, { size: 1, form: 'joined' })],
    [`${BATCH} look-ups by a join`, await measureLookUps(postgres, tables, filling, { size: BATCH, form: 'joined' })],
  ] as const;
  const drop = await dropOldest(tables.find(({ name }) => name === 'range-id')!.url);
  const measured =
    `PostgreSQL ${await postgres.version()} with node ${process.versions.node} on ${new Date().toISOString().slice(0, 10)}; ` +
    `${tokens.toLocaleString('en')} tokens of ${users.toLocaleString('en')} users, ${partitions} partitions`;
  return report(tables, lookUps, drop, measured);
}

async function benchmark(): Promise<void> {
  const { values: options } = parseArgs({
    options: {
      tokens: { type: 'string', default: '10000000' },
      partitions: { type: 'string', default: '16' },
      keep: { type: 'boolean', default: process.argv.length === 2 },
      help: { type: 'boolean', default: false },
    },
  });
  if (options.help) {
    process.stdout.write(USAGE);
    return;
  }
  const directory = mkdtempSync(join(tmpdir(), 'ext_growth_'));
  try {
    const postgres = await Postgres.start(directory, SETTINGS);
    try {
      const text = await measure(postgres, Number(options.tokens), Number(options.partitions));
      const formatted = await format(text, { singleQuote: true, printWidth: 120, filepath: RESULT });
      if (options.keep) writeFileSync(RESULT, formatted);
      process.stdout.write(`${formatted}\n`);
    } finally {
      await postgres.stop();
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

try {
  await benchmark();
} catch (error) {
  process.exitCode = 1;
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
}
