/** Measures changes of tokens on PostgreSQL and MariaDB. Run it with `npm run bench:writes`. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Postgres } from '../machine/postgres.js';
import { MariaDb } from '../scale/mariadb.js';
import { measureWrites, writesTable } from './measure.js';

const ROUNDS = 10;

const directory = mkdtempSync(join(tmpdir(), 'ext_bench_'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
const [postgres, mariadb] = [await Postgres.start(directory), await MariaDb.start(directory)];
try {
  const figures = [
    ...(await measureWrites(
      { name: 'PostgreSQL', type: 'postgres', url: await postgres.createDatabase('writes') },
      ROUNDS,
    )),
    ...(await measureWrites({ name: 'MariaDB', type: 'mariadb', url: await mariadb.createDatabase('writes') }, ROUNDS)),
  ];
  process.stdout.write(`${writesTable(figures)}\n`);
} finally {
  await Promise.all([postgres.stop(), mariadb.stop()]);
}
