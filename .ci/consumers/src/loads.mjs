/*
 * Loads the package in plain Node.js. Bundlers and test runners hide circular imports and wrong entries in `exports`;
 * plain Node.js does not.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import * as imported from 'nestjs-expiring-token';

const require = createRequire(import.meta.url);
assert.ok(imported.ExpiringTokenModule);
assert.equal(require('nestjs-expiring-token').ExpiringTokenModule, imported.ExpiringTokenModule);
assert.equal(require('nestjs-expiring-token/package.json').name, 'nestjs-expiring-token');
// The declarations must keep their comments: editors show them.
const declarations = new URL('options/expiring-token.options.d.ts', import.meta.resolve('nestjs-expiring-token'));
assert.match(readFileSync(declarations, 'utf8'), /Time limit for each database step of a request/);
