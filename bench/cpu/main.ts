/** Measures the CPU time of guards in one process. Run it with `npm run bench:cpu`, and pass `--cpu-prof` to Node for a profile. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Postgres } from '../machine/postgres.js';
import { guardCpuTable, measureGuardCpu } from './measure.js';

const ROUNDS = 40;

const directory = mkdtempSync(join(tmpdir(), 'ext_bench_'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
const postgres = await Postgres.start(directory);
try {
  process.stdout.write(`${guardCpuTable(await measureGuardCpu(ROUNDS, postgres))}\n`);
} finally {
  await postgres.stop();
}
