/**
 * Measures the constants of the load model: disk space of the rows, and CPU time and statements of each operation. Run it with
 * `npm run bench:costs`. CPU time is measured and not duration, so the figures hold on a busy machine too.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { format } from 'prettier';
import type { DataSourceOptions } from 'typeorm';
import type { AllCosts, Costs, ServerName } from '../load-model/costs.js';
import { Postgres } from '../machine/postgres.js';
import { log } from '../report/log.js';
import { USER_AGENT } from '../scale/fill.js';
import { MariaDb } from '../scale/mariadb.js';
import { measureOperations } from './operations.js';
import { measureSizes } from './sizes.js';

const USAGE = `node bench/dist/costs/main.js [options]

  --rows <tokens>   number of tokens whose disk space is measured; 1000000 by default
  --only <names>    any of postgres, mariadb, separated by commas
  --rounds <number> rounds of each operation, of which the best counts; 25 by default
  --keep            write the results even if --rows or --rounds is given

Writes bench/load-model/costs.json.
`;

const FILE = fileURLToPath(new URL('../../load-model/costs.json', import.meta.url));
const NAMES: readonly ServerName[] = ['postgres', 'mariadb'];
const DAY_MS = 86_400_000;
const TOKENS_PER_USER = 2;

const SERVERS = {
  postgres: { title: 'PostgreSQL', start: (directory: string) => Postgres.start(directory) },
  mariadb: { title: 'MariaDB', start: (directory: string) => MariaDb.start(directory) },
} as const;

interface Plan {
  rows: number;
  rounds: number;
}

async function measure(name: ServerName, { rows, rounds }: Plan, directory: string): Promise<Costs> {
  const { title, start } = SERVERS[name];
  const server = await start(directory);
  const create = async (database: string): Promise<DataSourceOptions> => ({
    type: name,
    url: await server.createDatabase(database),
  });
  try {
    const synchronized = { ...(await create('costs')), synchronize: true };
    const operations = await measureOperations(synchronized, { userAgent: USER_AGENT, rounds }, () =>
      server.cpuMicroseconds(),
    );
    const until = Date.now();
    const filling = {
      tokens: rows,
      users: rows / TOKENS_PER_USER,
      from: until - 37 * DAY_MS,
      until,
      userAgent: USER_AGENT,
    };
    const sizes = await measureSizes(name, await create('sizes'), filling);
    log(`${name}: ${JSON.stringify(sizes)}`);
    return {
      measured: `${title} ${await server.version()}, node ${process.versions.node}, ${new Date().toISOString().slice(0, 10)}`,
      command: `npm run bench:costs -- --only ${name} --rows ${rows} --rounds ${rounds} --keep`,
      userAgentLength: USER_AGENT.length,
      ...sizes,
      ...operations,
    };
  } finally {
    await server.stop();
  }
}

const read = (): Partial<AllCosts> => JSON.parse(readFileSync(FILE, 'utf8')) as Partial<AllCosts>;

/** Rounds to three digits: more would change with each run. */
const rounded = (_key: string, value: unknown): unknown =>
  typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(3)) : value;

async function run(): Promise<void> {
  const { values: options } = parseArgs({
    options: {
      rows: { type: 'string', default: '1000000' },
      rounds: { type: 'string', default: '25' },
      only: { type: 'string', default: NAMES.join() },
      keep: { type: 'boolean', default: !process.argv.some((option) => /^--ro(?:ws|unds)/.test(option)) },
      help: { type: 'boolean', default: false },
    },
  });
  if (options.help) {
    process.stdout.write(USAGE);
    return;
  }
  const only = options.only.split(',');
  const plan = { rows: Number(options.rows), rounds: Number(options.rounds) };
  for (const name of NAMES.filter((candidate) => only.includes(candidate))) {
    const directory = mkdtempSync(join(tmpdir(), 'ext_costs_'));
    try {
      const costs = await measure(name, plan, directory);
      process.stdout.write(`${name}: ${JSON.stringify(costs, rounded, 2)}\n`);
      if (!options.keep) continue;
      // The costs of the other database come from an earlier run and are kept.
      const text = JSON.stringify({ ...read(), [name]: costs }, rounded);
      writeFileSync(FILE, await format(text, { printWidth: 120, filepath: FILE }));
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

try {
  await run();
} catch (error) {
  process.exitCode = 1;
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
}
