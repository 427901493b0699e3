import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeCharts } from './charts/write.js';
import { type CommandLine, readCommandLine, USAGE } from './command-line.js';
import { CONTESTANT_NAMES, type ContestantName } from './contestants/roster.js';
import { Postgres } from './machine/postgres.js';
import { PrivateRedis } from './machine/redis.js';
import { readResults, writeResults } from './report/files.js';
import { regressions, TOLERANCE } from './report/regressions.js';
import type { Results } from './report/results.js';
import { markdown } from './report/tables.js';
import { versions } from './report/versions.js';
import { measureRevocations } from './revocation/measure.js';
import { measureStorms } from './storm/measure.js';
import { entrantsOf } from './throughput/lineup.js';
import { measureThroughput, type Plan } from './throughput/measure.js';

const FULL: Plan = { cycles: 10, attempts: 3, warmUpSeconds: 1, seconds: 4 };
/** Two minutes in all. */
const QUICK: Plan = { cycles: 3, attempts: 1, warmUpSeconds: 0, seconds: 2 };
const QUICK_CONTESTANTS: readonly ContestantName[] = ['no-guard', 'jwt-tuned', 'prepared-join', 'ours', 'ours-cached'];

const REVOCATION_COUNT = 1000;
const STORM_COUNT = 10;

/** Starts the servers of a run, and ends them with it. */
async function withServers<T>(
  use: (machine: { postgres: Postgres; redis: PrivateRedis; directory: string }) => Promise<T>,
): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'ext_bench_'));
  const remove = () => rmSync(directory, { recursive: true, force: true });
  process.once('exit', remove);
  try {
    const postgres = await Postgres.start(directory);
    try {
      const redis = await PrivateRedis.start(directory);
      return await use({ postgres, redis, directory }).finally(() => redis.stop());
    } finally {
      await postgres.stop();
    }
  } finally {
    remove();
  }
}

const measure = ({ parts, only, adapters, cycles, seconds, quick }: CommandLine): Promise<Results> =>
  withServers(async (machine) => {
    const made = { date: new Date().toISOString(), versions: versions(await machine.postgres.version()) };
    const results: Results = {};
    if (parts.includes('throughput')) {
      const usual = quick ? QUICK : FULL;
      const plan = { ...usual, cycles: cycles ?? usual.cycles, seconds: seconds ?? usual.seconds };
      const entrants = entrantsOf(only ?? (quick ? QUICK_CONTESTANTS : CONTESTANT_NAMES), adapters);
      results.throughput = { ...made, ...(await measureThroughput(entrants, plan, machine)) };
    }
    if (quick) return results;
    if (parts.includes('revocation')) {
      results.revocation = { ...made, ...(await measureRevocations(REVOCATION_COUNT, machine)) };
    }
    if (parts.includes('storm')) results.storm = { ...made, ...(await measureStorms(STORM_COUNT, machine.postgres)) };
    return results;
  });

async function run(): Promise<void> {
  const commandLine = readCommandLine();
  if (commandLine.help) {
    process.stdout.write(USAGE);
    return;
  }
  const results = await measure(commandLine);
  process.stdout.write(`${markdown(results)}\n`);
  if (commandLine.keep) {
    await writeResults({ ...readResults(), ...results });
    await writeCharts();
  }
  if (commandLine.quick) compare(results);
}

/** Fails where the results are worse than those that are kept. */
function compare(results: Results): void {
  const worse = regressions(results, readResults());
  const verdict = `worse than in bench/results/results.json by more than ${TOLERANCE * 100} %`;
  process.stdout.write(
    `\n${worse.map((line) => `${line}\n`).join('')}${worse.length || 'No'} ratios are ${verdict}.\n`,
  );
  if (worse.length > 0) process.exitCode = 1;
}

// The servers end with this process: see ServerProcess.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

try {
  await run();
} catch (error) {
  process.exitCode = 1;
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
}
