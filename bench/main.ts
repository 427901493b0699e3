import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeCharts } from './charts/write.js';
import { type CommandLine, readCommandLine, USAGE } from './command-line.js';
import { CONTESTANT_NAMES, type ContestantName } from './contestants/roster.js';
import { checkCpu } from './cpu/check.js';
import { Postgres } from './machine/postgres.js';
import { PrivateRedis } from './machine/redis.js';
import { readResults, writeResults } from './report/files.js';
import { regressions, TOLERANCE } from './report/regressions.js';
import type { Results } from './report/results.js';
import { markdown } from './report/tables.js';
import { versions } from './report/versions.js';
import { measureRevocations } from './revocation/measure.js';
import { measureStorms } from './storm/measure.js';
import { variantsOf } from './throughput/variants.js';
import { measureThroughput, type Plan } from './throughput/measure.js';

const FULL: Plan = { cycles: 10, attempts: 3, warmUpSeconds: 1, seconds: 4 };
const QUICK_CPU_ROUNDS = { guards: 12, server: 4 };
/** Takes three minutes in total. */
const QUICK: Plan = { cycles: 3, attempts: 1, warmUpSeconds: 0, seconds: 2 };
const QUICK_CONTESTANTS: readonly ContestantName[] = ['no-guard', 'jwt-tuned', 'prepared-join', 'ours', 'ours-cached'];

const REVOCATION_COUNT = 1000;
const STORM_COUNT = 10;

/** Starts the servers, and stops them after the run. */
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
    const runInfo = { date: new Date().toISOString(), versions: versions(await machine.postgres.version()) };
    const results: Results = {};
    if (parts.includes('throughput')) {
      const defaults = quick ? QUICK : FULL;
      const plan = { ...defaults, cycles: cycles ?? defaults.cycles, seconds: seconds ?? defaults.seconds };
      const variants = variantsOf(only ?? (quick ? QUICK_CONTESTANTS : CONTESTANT_NAMES), adapters);
      results.throughput = { ...runInfo, ...(await measureThroughput(variants, plan, machine)) };
    }
    if (quick) {
      await checkCpu(QUICK_CPU_ROUNDS, machine);
      return results;
    }
    if (parts.includes('revocation')) {
      results.revocation = { ...runInfo, ...(await measureRevocations(REVOCATION_COUNT, machine)) };
    }
    if (parts.includes('storm'))
      results.storm = { ...runInfo, ...(await measureStorms(STORM_COUNT, machine.postgres)) };
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

/** Sets a failing exit code if the results are worse than the committed ones. */
function compare(results: Results): void {
  const worse = regressions(results, readResults());
  const verdict = `worse than in bench/results/results.json by more than ${TOLERANCE * 100} %`;
  process.stdout.write(
    `\n${worse.map((line) => `${line}\n`).join('')}${worse.length || 'No'} ratios are ${verdict}.\n`,
  );
  if (worse.length > 0) process.exitCode = 1;
}

// ServerProcess stops the servers when this process exits.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

try {
  await run();
} catch (error) {
  process.exitCode = 1;
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
}
