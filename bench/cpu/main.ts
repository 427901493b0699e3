/** Measures the CPU time of guards, in one process and in a loaded server. Run it with `npm run bench:cpu`, and pass `--cpu-prof` to Node for a profile. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Postgres } from '../machine/postgres.js';
import { checkCpu } from './check.js';

const ROUNDS = { guards: 40, server: 8 };

const directory = mkdtempSync(join(tmpdir(), 'ext_bench_'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
const postgres = await Postgres.start(directory);
try {
  await checkCpu(ROUNDS, { postgres, directory });
} finally {
  await postgres.stop();
}
