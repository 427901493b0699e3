/**
 * Prepares everything that `main.ts` needs: the programs of the machine, the packages of the contestants, this package
 * installed as a user installs it, and the compiled benchmark. With `--charts`, it prepares only what `charts/main.ts` needs,
 * and with `--model` only what `load-model/main.ts` needs.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const forModel = process.argv.includes('--model');
const forCharts = process.argv.includes('--charts');
/** Whether something is measured. */
const forMeasurement = !forModel && !forCharts;
const bench = import.meta.dirname;
const repository = resolve(bench, '..');

const run = (cwd, command, ...parameters) =>
  execFileSync(command, parameters, { cwd, stdio: ['ignore', 'ignore', 'inherit'], timeout: 600_000 });

/** Retries a failed installation once, because a slow network can make it hang. */
function install(...parameters) {
  const npm = () => run(bench, 'npm', ...parameters, '--no-audit', '--no-fund', '--loglevel=error');
  try {
    npm();
  } catch {
    npm();
  }
}

/** The program that each Debian package provides. */
const PROGRAMS = {
  wrk: '/usr/bin/wrk',
  'redis-server': '/usr/bin/redis-server',
  postgresql: '/usr/lib/postgresql',
  'mariadb-server': '/usr/sbin/mariadbd',
};
const missing = Object.keys(PROGRAMS).filter((name) => !existsSync(PROGRAMS[name]));
if (missing.length > 0 && forMeasurement) {
  run(bench, 'apt-get', 'update');
  run(bench, 'apt-get', 'install', '-y', '--no-install-recommends', ...missing);
}

const changedAt = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
const isInstalled =
  changedAt(join(bench, 'package-lock.json')) <= changedAt(join(bench, 'node_modules/.package-lock.json'));
if (!isInstalled && !forModel) install('ci');

if (forMeasurement) {
  const directory = mkdtempSync(join(tmpdir(), 'ext_bench_pack_'));
  try {
    run(repository, 'npm', 'pack', '--silent', '--pack-destination', directory);
    install('install', '--no-save', join(directory, readdirSync(directory)[0]));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

rmSync(join(bench, 'dist'), { recursive: true, force: true });
run(
  bench,
  process.execPath,
  join(repository, 'node_modules/typescript/bin/tsc'),
  '-p',
  bench,
  ...(forMeasurement ? [] : ['--noCheck']),
);
