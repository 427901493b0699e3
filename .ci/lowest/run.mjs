/**
 * Runs the tests, on SQLite, with the lowest versions of the peers: `node .ci/lowest/run.mjs [11 | 12] [specs and options of vitest]`.
 * Copies the files of the repository to a temporary directory, and installs the versions there.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { install } from '../install.mjs';
import { lowestVersions, MAJORS } from './versions.mjs';

/** Without the documents, which do not depend on the peers, and without the specs that start processes, for which the gate has no time. */
const PROJECTS = ['--project', 'unit', '--project', 'app'];

const repository = resolve(import.meta.dirname, '../..');
const [first, ...rest] = process.argv.slice(2);
const [major, parameters] = MAJORS.includes(first) ? [first, rest] : [MAJORS[0], process.argv.slice(2)];
const versions = Object.entries(lowestVersions(major)).map(([name, version]) => `${name}@${version}`);
const directory = mkdtempSync(join(tmpdir(), 'lowest-'));

try {
  // In a container, the files can belong to another user, and git refuses to list them.
  const list = ['-c', `safe.directory=${repository}`, 'ls-files', '-z', '--cached', '--others', '--exclude-standard'];
  const listed = execFileSync('git', list, { cwd: repository, encoding: 'utf8' });
  // A file that was deleted and not yet committed is listed too.
  const files = listed.split('\0').filter((file) => file && existsSync(join(repository, file)));
  for (const file of files) cpSync(join(repository, file), join(directory, file));
  process.stdout.write(`NestJS ${major}: ${versions.join(' ')}\n`);
  // The optional peers of other packages have other ranges.
  await install(directory, '--no-save', '--legacy-peer-deps', ...versions);
  const command = ['vitest', 'run', '--mode', 'sqlite', ...PROJECTS, ...parameters];
  process.exitCode = spawnSync('npx', command, { cwd: directory, stdio: 'inherit' }).status ?? 1;
} finally {
  rmSync(directory, { recursive: true, force: true });
}
