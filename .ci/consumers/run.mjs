/**
 * Packs the package and installs it in applications outside the repository, as users do. Compiles each application with
 * `strict`, and tests it over HTTP on every supported Node version.
 */
import { execFile, execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { install } from '../install.mjs';
import { lowestRequiredPeers } from '../lowest/versions.mjs';

const NODES = ['20', '22', '24'];
/** Each with the dependencies that its package.json does not have: the first with the lowest version of each required peer. */
const CONSUMERS = { 'nest-11': lowestRequiredPeers('11'), 'nest-12': {} };

/** The usual settings of an application, except that declaration files are checked too. */
const TSCONFIG = {
  compilerOptions: {
    module: 'nodenext',
    target: 'ES2023',
    strict: true,
    experimentalDecorators: true,
    emitDecoratorMetadata: true,
    skipLibCheck: false,
    types: ['node'],
  },
  files: ['main.ts', 'readme.ts'],
};

const here = import.meta.dirname;
const repository = resolve(here, '../..');
const workDirectory = mkdtempSync(join(tmpdir(), 'consumers-'));

const readJson = (file) => JSON.parse(readFileSync(file, 'utf8'));

/** Runs a program and returns its output. The error of a failed program contains the output too. */
async function run(cwd, program, parameters, options = {}) {
  try {
    return (await promisify(execFile)(program, parameters, { cwd, ...options })).stdout;
  } catch (error) {
    error.message += `\n${error.stdout}`;
    throw error;
  }
}

/** Waits for all promises, even if one rejects: work that is still running would disturb the clean-up. */
async function awaitAll(promises) {
  const settled = await Promise.allSettled(promises);
  return settled.map(({ value, reason }) => {
    if (reason) throw reason;
    return value;
  });
}

/** Installs each Node version from the registry and returns the paths of the programs. */
async function installNodes() {
  const directory = join(workDirectory, 'nodes');
  const [currentMajor] = process.versions.node.split('.');
  const others = NODES.filter((major) => major !== currentMajor);
  const binary = `node-${process.platform}-${process.arch}`;
  mkdirSync(directory);
  writeFileSync(
    join(directory, 'package.json'),
    JSON.stringify({ dependencies: Object.fromEntries(others.map((major) => [major, `npm:${binary}@${major}`])) }),
  );
  await install(directory);
  const path = (major) =>
    major === currentMajor ? process.execPath : join(directory, 'node_modules', major, 'bin/node');
  return NODES.map(path);
}

/** Returns the first code block of the README that defines an application. */
function readReadmeExample() {
  const blocks = readFileSync(join(repository, 'README.md'), 'utf8').matchAll(/```ts\n(.*?)```/gs);
  const example = [...blocks].map(([, code]) => code).find((code) => code.includes('export class AppModule'));
  if (!example) throw new Error('README.md must have a code block with an AppModule');
  return example;
}

/** Installs and compiles an application, and returns its directory. */
async function build(name, peers, tarball) {
  const directory = join(workDirectory, name);
  cpSync(join(here, name), directory, { recursive: true });
  const { dependencies, ...rest } = readJson(join(directory, 'package.json'));
  const all = { ...rest, dependencies: { ...dependencies, ...peers } };
  writeFileSync(join(directory, 'package.json'), JSON.stringify(all));
  cpSync(join(here, 'src'), directory, { recursive: true });
  writeFileSync(join(directory, 'readme.ts'), readReadmeExample());
  writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify(TSCONFIG));
  await install(directory, tarball);
  // libsql replaces better-sqlite3, which needs a compiler if its binary cannot be downloaded.
  const driver = join(directory, 'node_modules/better-sqlite3');
  mkdirSync(driver);
  writeFileSync(join(driver, 'index.js'), "module.exports = require('libsql');");
  // Declarations of other packages may import packages that are not installed, so only errors in our own files count.
  const output = await run(directory, 'node_modules/.bin/tsc', []).catch((error) => error.message);
  const errors = output
    .split('\n')
    .filter((line) => /^(?!node_modules\/(?!nestjs-expiring-token\/)).*error TS\d+:/.test(line));
  if (errors.length > 0) throw new Error(errors.join('\n'));
  return directory;
}

/** Returns the disk space of the package and of its dependencies. */
async function sizes(directory) {
  const packages = ['nestjs-expiring-token', ...Object.keys(manifest(directory).dependencies)];
  const output = await run(directory, 'du', ['-sk', ...packages.map((name) => `node_modules/${name}`)]);
  return output.replaceAll('node_modules/', '');
}

const manifest = (directory) => readJson(join(directory, 'node_modules/nestjs-expiring-token/package.json'));

try {
  execFileSync('npm', ['pack', '--silent', '--pack-destination', workDirectory], { cwd: repository, stdio: 'ignore' });
  const { name, version } = readJson(join(repository, 'package.json'));
  const tarball = join(workDirectory, `${name}-${version}.tgz`);
  const migrations = join(here, 'migrations.mjs');
  const [nodes, ...directories] = await awaitAll([
    installNodes(),
    ...Object.entries(CONSUMERS).map(([consumer, peers]) => build(consumer, peers, tarball)),
  ]);
  for (const directory of directories) {
    const outputs = await awaitAll(
      nodes.map(async (node) => {
        await run(directory, node, ['loads.mjs']);
        return run(directory, node, ['main.js'], { env: { ...process.env, DATABASE: ':memory:' }, timeout: 120_000 });
      }),
    );
    process.stdout.write(`${outputs.join('\n')}\n`);
  }
  process.stdout.write(`kB installed:\n${await sizes(directories.at(-1))}`);
  if (existsSync(migrations)) process.stdout.write(await run(repository, process.execPath, [migrations, tarball]));
} finally {
  rmSync(workDirectory, { recursive: true, force: true });
}
