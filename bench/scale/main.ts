import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { format } from 'prettier';
import type { DataSourceOptions } from 'typeorm';
import { writeCharts } from '../charts/write.js';
import { Postgres } from '../machine/postgres.js';
import { log } from '../report/log.js';
import type { DatabaseName, Filling } from './fill.js';
import { measureLookUps } from './lookup.js';
import { MariaDb } from './mariadb.js';
import { measurePruning } from './prune.js';
import { SMALL_TABLE_TOKENS, type Scale, scaleMarkdown, type ScaleResults } from './report.js';
import { FilledTable } from './table.js';

const USAGE = `node bench/dist/scale/main.js [options]

  --postgres <tokens>   10000000 by default
  --mariadb <tokens>    1000000 by default
  --sqlite <tokens>     1000000 by default
  --prune <tokens>      number of tokens, half of which are pruned; 2000000 by default
  --per-user <tokens>   tokens per user; 10 by default
  --only <names>        any of postgres, mariadb, sqlite, separated by commas
  --keep                write the results even if other options are given

Without options, the results of each database are written to bench/results as soon as it is measured.
`;

const RESULTS = fileURLToPath(new URL('../../results', import.meta.url));
const DAY_MS = 86_400_000;
const NAMES: readonly DatabaseName[] = ['postgres', 'mariadb', 'sqlite'];

/** A database server that creates databases. */
interface DatabaseServer {
  version: string;
  create(database: string): Promise<DataSourceOptions>;
  stop(): Promise<void>;
}

const SERVERS: Record<DatabaseName, (directory: string) => Promise<DatabaseServer>> = {
  async postgres(directory) {
    const server = await Postgres.start(directory);
    return {
      version: await server.version(),
      create: async (database) => ({ type: 'postgres', url: await server.createDatabase(database) }),
      stop: () => server.stop(),
    };
  },
  async mariadb(directory) {
    const server = await MariaDb.start(directory);
    return {
      version: await server.version(),
      create: async (database) => ({ type: 'mariadb', url: await server.createDatabase(database) }),
      stop: () => server.stop(),
    };
  },
  async sqlite(directory) {
    const { default: Database } = await import('better-sqlite3');
    const [row] = new Database(':memory:').prepare('SELECT sqlite_version() AS version').all();
    return {
      version: (row as { version: string }).version,
      create: async (database) => ({ type: 'better-sqlite3', database: join(directory, `${database}.sqlite`) }),
      stop: async () => undefined,
    };
  },
};

interface Plan {
  tokens: Record<DatabaseName, number>;
  prune: number;
  perUser: number;
}

async function measure(name: DatabaseName, { tokens, prune, perUser }: Plan, directory: string): Promise<Scale> {
  const server = await SERVERS[name](directory);
  let tableCount = 0;
  /** @param days - age of the oldest token */
  async function withTable<T>(count: number, days: number, use: (table: FilledTable) => Promise<T>): Promise<T> {
    log(`${name}: ${count} tokens`);
    const until = Date.now();
    const filling: Filling = { tokens: count, users: Math.ceil(count / perUser), from: until - days * DAY_MS, until };
    const table = await FilledTable.fill(name, await server.create(`tokens_${tableCount++}`), filling);
    return use(table).finally(() => table.close());
  }
  const lookUps = async (table: FilledTable, count: number) => {
    await table.addBare();
    return measureLookUps(table, count);
  };
  // The default lifespan plus the default retention: the maximum age of a row.
  const maxAgeDays = 30 + 7;
  try {
    const few = await withTable(SMALL_TABLE_TOKENS, maxAgeDays, (table) => lookUps(table, SMALL_TABLE_TOKENS));
    const { sizes, many } = await withTable(tokens[name], maxAgeDays, async (table) => ({
      sizes: await table.sizes(),
      many: await lookUps(table, tokens[name]),
    }));
    const pruning = await withTable(prune, 2 * maxAgeDays, measurePruning);
    const { version } = server;
    return {
      date: new Date().toISOString(),
      node: process.versions.node,
      version,
      tokens: tokens[name],
      perUser,
      sizes,
      few,
      many,
      pruning,
    };
  } finally {
    await server.stop();
  }
}

const readResults = (): ScaleResults => JSON.parse(readFileSync(join(RESULTS, 'scale.json'), 'utf8')) as ScaleResults;

/** Writes the results with the formatting of .prettierrc.json. */
async function write(results: ScaleResults): Promise<void> {
  for (const [file, content] of [
    ['scale.json', JSON.stringify(results)],
    ['scale.md', `# Results of \`bench/scale\`\n\n${scaleMarkdown(results)}`],
  ] as const) {
    const filepath = join(RESULTS, file);
    writeFileSync(filepath, await format(content, { singleQuote: true, printWidth: 120, filepath }));
  }
}

async function run(): Promise<void> {
  const { values: options } = parseArgs({
    options: {
      postgres: { type: 'string', default: '10000000' },
      mariadb: { type: 'string', default: '1000000' },
      sqlite: { type: 'string', default: '1000000' },
      prune: { type: 'string', default: '2000000' },
      'per-user': { type: 'string', default: '10' },
      only: { type: 'string', default: NAMES.join() },
      keep: { type: 'boolean', default: process.argv.length === 2 },
      help: { type: 'boolean', default: false },
    },
  });
  if (options.help) {
    process.stdout.write(USAGE);
    return;
  }
  const only = options.only.split(',');
  const tokens = Object.fromEntries(NAMES.map((name) => [name, Number(options[name])])) as Plan['tokens'];
  const plan = { tokens, prune: Number(options.prune), perUser: Number(options['per-user']) };
  const results: ScaleResults = {};
  for (const name of NAMES.filter((candidate) => only.includes(candidate))) {
    const directory = mkdtempSync(join(tmpdir(), 'ext_scale_'));
    try {
      results[name] = await measure(name, plan, directory);
      // The results of the other databases come from earlier runs and are kept.
      if (options.keep) await write({ ...readResults(), [name]: results[name] });
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }
  if (options.keep) await writeCharts();
  process.stdout.write(`${scaleMarkdown(results)}\n`);
}

try {
  await run();
} catch (error) {
  process.exitCode = 1;
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
}
