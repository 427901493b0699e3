/* What a runtime sees that no bundler or test runner rearranges: a circular import, a wrong entry in `exports`. */
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
