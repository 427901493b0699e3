/**
 * Packs the package, installs it in an empty application outside the repository, and runs the README's main example
 * there: compiled under `strict`, on Express, over HTTP.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const repository = resolve(import.meta.dirname, '..');
const { devDependencies } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'));
const version = (name) => `${name}@${devDependencies[name]}`;

const consumer = mkdtempSync(join(tmpdir(), 'consumer-'));
const run = (command, ...args) =>
  execFileSync(command, args, { cwd: consumer, stdio: ['ignore', 'inherit', 'inherit'], timeout: 300_000 });

/** The README's first code block that makes an application. */
function exampleOfReadme() {
  const blocks = readFileSync(join(repository, 'README.md'), 'utf8').matchAll(/```ts\n(.*?)```/gs);
  const example = [...blocks].map(([, code]) => code).find((code) => code.includes('export class AppModule'));
  if (!example) throw new Error('README.md has no code block with an AppModule');
  return example;
}

const MAIN = `
import assert from 'node:assert/strict';
import { NestFactory } from '@nestjs/core';
import { type ExpiringTokenException, ExpiringTokenService, UserService } from 'nestjs-expiring-token';
import { AppModule } from './app.js';

const app = await NestFactory.create(AppModule, { logger: ['error'] });
await app.listen(0, '127.0.0.1');
const url = await app.getUrl();
await app.get(UserService).create('ann', 'correct horse');

const login = (password: string) =>
  fetch(url + '/auth/login', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ username: 'ann', password }),
  });
const me = (token?: string) => fetch(url + '/me', { headers: token ? { Authorization: 'Bearer ' + token } : {} });

assert.equal((await login('wrong')).status, 401);
const { token } = (await (await login('correct horse')).json()) as { token: string };
assert.equal((await me()).headers.get('WWW-Authenticate'), 'Bearer realm="api"');
const answer = await me(token);
assert.equal(answer.status, 200);
assert.deepEqual(await answer.json(), { username: 'ann' });
const logout = await fetch(url + '/auth/logout', { method: 'POST', headers: { Authorization: 'Bearer ' + token } });
assert.equal(logout.status, 204);
assert.equal((await me(token)).status, 401);
await assert.rejects(app.get(ExpiringTokenService).authenticate(token), (error: ExpiringTokenException) => {
  return error.code === 'token_invalid';
});
await app.close();
`;

/** What a runtime sees that no bundler or test runner rearranges: a circular import, a wrong entry in \`exports\`. */
const LOADS = `
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import * as imported from 'nestjs-expiring-token';
const require = createRequire(import.meta.url);
assert.ok(imported.ExpiringTokenModule);
assert.equal(require('nestjs-expiring-token').ExpiringTokenModule, imported.ExpiringTokenModule);
assert.equal(require('nestjs-expiring-token/package.json').name, 'nestjs-expiring-token');
const declarations = new URL('expiring-token.options.d.ts', import.meta.resolve('nestjs-expiring-token'));
assert.match(readFileSync(declarations, 'utf8'), /Longest wait for the database on one request/);
`;

try {
  execFileSync('npm', ['pack', '--silent', '--pack-destination', consumer], { cwd: repository, stdio: 'inherit' });
  const tarball = execFileSync('ls', [consumer], { encoding: 'utf8' }).trim();
  writeFileSync(join(consumer, 'package.json'), '{ "type": "module", "private": true }');
  const nest = ['common', 'core', 'platform-express', 'typeorm', 'passport'].map((name) => version(`@nestjs/${name}`));
  const others = ['typeorm', 'passport', 'reflect-metadata', 'rxjs', 'typescript', '@types/node', 'libsql'].map(
    version,
  );
  run('npm', 'install', '--no-audit', '--no-fund', '--silent', `./${tarball}`, ...nest, ...others);
  // libsql stands in for better-sqlite3, which needs a compiler where its binary cannot be downloaded.
  const driver = join(consumer, 'node_modules/better-sqlite3');
  mkdirSync(driver);
  writeFileSync(join(driver, 'index.js'), "module.exports = require('libsql');");
  writeFileSync(join(consumer, 'app.ts'), exampleOfReadme());
  writeFileSync(join(consumer, 'main.ts'), MAIN);
  writeFileSync(join(consumer, 'loads.js'), LOADS);
  run('node', 'loads.js');
  const compilerOptions = {
    module: 'nodenext',
    target: 'ES2023',
    strict: true,
    experimentalDecorators: true,
    emitDecoratorMetadata: true,
    skipLibCheck: true,
    types: ['node'],
  };
  writeFileSync(join(consumer, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['main.ts'] }));
  run('npx', 'tsc');
  run('node', 'main.js');
  process.stdout.write('The packed package serves the example of the README.\n');
} finally {
  rmSync(consumer, { recursive: true, force: true });
}
