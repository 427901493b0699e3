/**
 * Packs the package and installs it with TypeORM 0.3 in an empty directory outside the repository. Runs and reverts its
 * migrations there on each database, and on SQLite also with TypeORM's command line.
 *
 * Usage: `node .ci/consumers/migrations.mjs [tarball]`. With a tarball, the script does not pack the package again.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const repository = resolve(import.meta.dirname, '../..');
const { devDependencies } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'));
const version = (name) => `${name}@${devDependencies[name]}`;

/** The data source module for TypeORM's command line. */
const DATA_SOURCE = `
import { createRequire } from 'node:module';
import { Token, User } from 'nestjs-expiring-token';
import { migrations } from 'nestjs-expiring-token/migrations';
import { DataSource } from 'typeorm';

const driver = createRequire(import.meta.url)('libsql');
const sqlite = { type: 'better-sqlite3', driver, database: 'migrated.sqlite' };
export const open = (database) => new DataSource({ ...database, entities: [Token, User], migrations });
export default open(sqlite);
`;

const MIGRATE = `
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { migrations } from 'nestjs-expiring-token/migrations';
import { DataSource } from 'typeorm';
import sqlite, { open } from './data-source.js';

const { version } = JSON.parse(readFileSync('node_modules/typeorm/package.json', 'utf8'));
assert.match(version, /^0\\.3\\./);

async function migrate(name, dataSource) {
  await dataSource.initialize();
  try {
    const ran = await dataSource.runMigrations();
    assert.equal(ran.length, migrations.length);
    const { upQueries } = await dataSource.driver.createSchemaBuilder().log();
    assert.deepEqual(upQueries, []);
    for (const _ of ran) await dataSource.undoLastMigration();
    const runner = dataSource.createQueryRunner();
    for (const table of ['auth_token', 'auth_user']) assert.equal(await runner.hasTable(table), false);
    await runner.release();
  } finally {
    await dataSource.destroy();
  }
  console.log(name + ': the migrations run, leave no schema difference, and can be reverted with TypeORM ' + version);
}

await migrate('sqlite', sqlite);
const glob = 'node_modules/nestjs-expiring-token/dist/migrations/*.js';
await migrate('sqlite, by a glob', new DataSource({ ...sqlite.options, database: 'glob.sqlite', migrations: [glob] }));
for (const [type, address] of Object.entries({
  postgres: process.env.TEST_POSTGRES_URL ?? 'postgres://postgres@127.0.0.1:5432/postgres',
  mariadb: process.env.TEST_MARIADB_URL ?? 'mysql://root@127.0.0.1:3306/mysql',
})) {
  const server = new DataSource({ type, url: address });
  try {
    await server.initialize();
  } catch (error) {
    if (process.env.CI === 'true') throw error;
    console.log('SKIPPED: migrations on ' + type + ': ' + error.message);
    continue;
  }
  const name = 'ext_test_' + randomBytes(6).toString('hex');
  await server.query('CREATE DATABASE ' + name);
  try {
    const url = new URL(address);
    url.pathname = name;
    await migrate(type, open({ type, url: url.href }));
  } finally {
    await server.query('DROP DATABASE ' + name);
    await server.destroy();
  }
}
`;

const directory = mkdtempSync(join(tmpdir(), 'consumer-'));
const run = (command, ...args) =>
  execFileSync(command, args, {
    cwd: directory,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 200_000,
  });
const typeorm = (...args) => run('node', 'node_modules/typeorm/cli.js', ...args, '-d', 'data-source.js');

try {
  const [packedTarball] = process.argv.slice(2);
  const pack = ['pack', '--silent', '--pack-destination', directory];
  const tarball = packedTarball
    ? resolve(packedTarball)
    : join(directory, execFileSync('npm', pack, { cwd: repository, encoding: 'utf8' }).trim().split('\n').at(-1));
  writeFileSync(join(directory, 'package.json'), '{ "type": "module", "private": true }');
  writeFileSync(join(directory, 'data-source.js'), DATA_SOURCE);
  writeFileSync(join(directory, 'migrate.js'), MIGRATE);
  const nest = ['common', 'core', 'passport', 'typeorm'].map((name) => version(`@nestjs/${name}`));
  const drivers = ['libsql', 'pg', 'mysql2'].map(version);
  run('npm', 'install', '--no-audit', '--no-fund', '--silent', tarball, 'typeorm@0.3', ...drivers, ...nest);
  process.stdout.write(run('node', 'migrate.js'));
  typeorm('migration:run');
  // Fails if the schema differs from the entities.
  typeorm('migration:generate', 'left', '--check');
  typeorm('migration:revert');
  process.stdout.write("sqlite: the same with TypeORM's command line\n");
} finally {
  rmSync(directory, { recursive: true, force: true });
}
