/**
 * Packs the package and installs it in applications outside the repository, as their users have it: each is compiled
 * under `strict`, and driven over HTTP on every Node that the package is for.
 */
import { execFile, execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

const NODES = ['20', '22', '24'];
const CONSUMERS = ['nest-11', 'nest-12'];
const INSTALL_MS = 300_000;

/** As an application has it, but that declarations are looked into as well. */
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
const place = mkdtempSync(join(tmpdir(), 'consumers-'));

/** Runs a program to its end: what it said, or an error with it. */
async function run(cwd, program, parameters, options = {}) {
  try {
    return (await promisify(execFile)(program, parameters, { cwd, ...options })).stdout;
  } catch (error) {
    error.message += `\n${error.stdout}`;
    throw error;
  }
}

/** A slow network can make it hang: it is tried twice. */
async function install(cwd, ...packages) {
  const once = () => run(cwd, 'npm', ['install', '--no-audit', '--no-fund', ...packages], { timeout: INSTALL_MS });
  await once().catch(once);
}

/** Waits for all of them, also where one fails: what goes on would be in the way of the end. */
async function together(works) {
  const settled = await Promise.allSettled(works);
  return settled.map(({ value, reason }) => {
    if (reason) throw reason;
    return value;
  });
}

/** The programs of each Node, which are packages of the registry. */
async function installNodes() {
  const directory = join(place, 'nodes');
  const [own] = process.versions.node.split('.');
  const others = NODES.filter((major) => major !== own);
  const binary = `node-${process.platform}-${process.arch}`;
  mkdirSync(directory);
  writeFileSync(
    join(directory, 'package.json'),
    JSON.stringify({ dependencies: Object.fromEntries(others.map((major) => [major, `npm:${binary}@${major}`])) }),
  );
  await install(directory);
  const path = (major) => (major === own ? process.execPath : join(directory, 'node_modules', major, 'bin/node'));
  return NODES.map(path);
}

/** The README's first code block that makes an application. */
function exampleOfReadme() {
  const blocks = readFileSync(join(repository, 'README.md'), 'utf8').matchAll(/```ts\n(.*?)```/gs);
  const example = [...blocks].map(([, code]) => code).find((code) => code.includes('export class AppModule'));
  if (!example) throw new Error('README.md has no code block with an AppModule');
  return example;
}

/** Installs and compiles an application, and returns its directory. */
async function build(name, tarball) {
  const directory = join(place, name);
  cpSync(join(here, name), directory, { recursive: true });
  cpSync(join(here, 'src'), directory, { recursive: true });
  writeFileSync(join(directory, 'readme.ts'), exampleOfReadme());
  writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify(TSCONFIG));
  await install(directory, tarball);
  // libsql stands in for better-sqlite3, which needs a compiler where its binary cannot be downloaded.
  const driver = join(directory, 'node_modules/better-sqlite3');
  mkdirSync(driver);
  writeFileSync(join(driver, 'index.js'), "module.exports = require('libsql');");
  // Declarations of other packages may want what is not installed; ours want nothing more than the package does.
  const told = await run(directory, 'node_modules/.bin/tsc', []).catch((error) => error.message);
  const faults = told
    .split('\n')
    .filter((line) => /^(?!node_modules\/(?!nestjs-expiring-token\/)).*error TS\d+:/.test(line));
  if (faults.length > 0) throw new Error(faults.join('\n'));
  return directory;
}

/** What the installation of the package brings along, beside what an application has. */
async function sizes(directory) {
  const packages = ['nestjs-expiring-token', ...Object.keys(manifest(directory).dependencies)];
  const listed = await run(directory, 'du', ['-sk', ...packages.map((name) => `node_modules/${name}`)]);
  return listed.replaceAll('node_modules/', '');
}

const manifest = (directory) =>
  JSON.parse(readFileSync(join(directory, 'node_modules/nestjs-expiring-token/package.json'), 'utf8'));

try {
  execFileSync('npm', ['pack', '--silent', '--pack-destination', place], { cwd: repository, stdio: 'ignore' });
  const { name, version } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'));
  const tarball = join(place, `${name}-${version}.tgz`);
  const migrations = join(here, 'migrations.mjs');
  const [nodes, ...directories] = await together([
    installNodes(),
    ...CONSUMERS.map((consumer) => build(consumer, tarball)),
  ]);
  for (const directory of directories) {
    const outputs = await together(
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
  rmSync(place, { recursive: true, force: true });
}
