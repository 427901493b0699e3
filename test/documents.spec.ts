import { existsSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { runInNewContext } from 'node:vm';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Token, UserService } from 'nestjs-expiring-token';
import ts from 'typescript';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { resolveOptions } from '../lib/expiring-token.resolved-options.js';
import { resolveStructure } from '../lib/expiring-token.structure.js';
import { sqliteDriver } from './fixtures/databases.js';
import {
  anchorsOf,
  type Block,
  blocksOf,
  compileBlocks,
  documents,
  linksOf,
  README_APPLICATION,
} from './fixtures/documents.js';
import { bearer, request } from './fixtures/http.js';

const ROOT = resolve(import.meta.dirname, '..');
const blocks = documents.flatMap(blocksOf);
const readme = documents.find(({ path }) => path === 'README.md')!;

describe('The blocks of TypeScript in the documents', () => {
  let problems: Map<Block, string[]>;
  beforeAll(() => {
    problems = compileBlocks(blocks);
  });

  it.each(blocks.map((block): [string, Block] => [`${block.document}:${block.line}`, block]))(
    'compile against the package, %s',
    (_, block) => {
      expect(problems.get(block)).toEqual([]);
    },
  );

  it('hold an application, the first one of README.md, that works as README.md says', async () => {
    const { forRoot } = TypeOrmModule;
    // As README.md has it, on the driver that the tests have.
    const typeOrm = vi
      .spyOn(TypeOrmModule, 'forRoot')
      .mockImplementation((options) => forRoot.call(TypeOrmModule, { ...options, driver: sqliteDriver } as object));
    vi.stubEnv('DATABASE', ':memory:');
    try {
      const { AppModule } = await import(README_APPLICATION);
      const app = await NestFactory.create(AppModule, { logger: false });
      await app.listen(0, '127.0.0.1');
      const origin = await app.getUrl();
      const credentials = { username: 'ann', password: 'correct horse battery staple' };
      await app.get(UserService).create(credentials.username, credentials.password);

      expect(await request(origin, '/me')).toMatchObject({ status: 401, json: { code: 'token_missing' } });
      const { token } = (await request(origin, '/auth/login', { method: 'POST', body: credentials })).json;
      const me = () => request(origin, '/me', { headers: bearer(token) });
      expect(await me()).toMatchObject({ status: 200, json: { username: 'ann' } });
      const logout = await request(origin, '/auth/logout', { method: 'POST', headers: bearer(token) });
      expect(logout.status).toBe(204);
      expect(await me()).toMatchObject({ status: 401, json: { code: 'token_invalid' } });
      await app.close();
    } finally {
      typeOrm.mockRestore();
      vi.unstubAllEnvs();
    }
  });
});

describe('The documents', () => {
  it.each(documents)('link to what is there: $path', (document) => {
    const broken = linksOf(document)
      .filter((link) => !/^[a-z]+:/.test(link))
      .filter((link) => {
        const [path = '', anchor] = link.split('#');
        const target = path === '' ? document.path : relative(ROOT, join(ROOT, dirname(document.path), path));
        const other = documents.find((candidate) => candidate.path === target);
        return !existsSync(join(ROOT, target)) || (anchor !== undefined && !(other && anchorsOf(other).has(anchor)));
      });
    expect(broken).toEqual([]);
  });

  it('are all to be found from README.md', () => {
    const guides = documents.map(({ path }) => path).filter((path) => path.startsWith('docs/'));
    const linked = new Set(linksOf(readme).map((link) => link.split('#')[0]));
    expect(guides.filter((guide) => !linked.has(guide))).toEqual([]);
  });
});

/** An option as its TSDoc tells it. */
interface Documented {
  name: string;
  /** As `@defaultValue` has it. */
  defaultValue: string;
}

const source = ts.createSourceFile(
  'expiring-token.options.ts',
  ts.sys.readFile(join(ROOT, 'lib/expiring-token.options.ts'))!,
  ts.ScriptTarget.Latest,
  true,
);

/** The options of an interface of `lib/expiring-token.options.ts`. */
function optionsOf(name: string): Documented[] {
  const declaration = source.statements.find(
    (statement) => ts.isInterfaceDeclaration(statement) && statement.name.text === name,
  ) as ts.InterfaceDeclaration;
  return declaration.members.map((member) => {
    const tag = ts.getJSDocTags(member).find(({ tagName }) => tagName.text === 'defaultValue');
    return { name: member.name!.getText(source), defaultValue: ts.getTextOfJSDocComment(tag?.comment) ?? '' };
  });
}

const RUNTIME = optionsOf('ExpiringTokenOptions');
const STRUCTURAL = optionsOf('ExpiringTokenStructuralOptions');

/** The options that have options of their own. */
const GROUPS = {
  refresh: optionsOf('RefreshOptions'),
  limit: optionsOf('LimitOptions'),
  loginThrottle: optionsOf('LoginThrottleOptions'),
  cache: optionsOf('CacheOptions'),
  prune: optionsOf('PruneOptions'),
};

/** The default where it is told as code, and not in words. */
const literalOf = ({ defaultValue }: Documented): string | undefined => /^`([^`]+)`(?:;|$)/.exec(defaultValue)?.[1];

/** Those of some options that have such a default, with its value. */
const literals = (options: readonly Documented[]): [name: string, value: unknown][] =>
  options.flatMap((option) => {
    const code = literalOf(option);
    return code === undefined ? [] : [[option.name, runInNewContext(`(${code})`, { Token })]];
  });

const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);

describe('The options', () => {
  const rows = [...readme.text.matchAll(/^\| `(\w+)` +\| (.*?) +\| (.*?) +\|$/gm)].map(
    ([, name = '', defaultValue = '', meaning = '']) => ({ name, defaultValue, meaning }),
  );

  it('are all in the tables of README.md, each once, with the default that its TSDoc has', () => {
    const told = rows.map(({ name, defaultValue }) => ({ name, defaultValue }));
    expect(told.toSorted(byName)).toEqual([...RUNTIME, ...STRUCTURAL].toSorted(byName));
  });

  it.each(Object.entries(GROUPS))('of %s are all in its row, with their defaults', (group, options) => {
    const { defaultValue, meaning } = rows.find(({ name }) => name === group)!;
    for (const option of options) {
      const code = literalOf(option);
      expect(defaultValue + meaning).toContain(code === undefined ? option.name : `${option.name}: ${code}`);
    }
  });

  it('have the defaults that they are documented with', () => {
    const told = literals(RUNTIME);
    expect(told.length).toBeGreaterThan(12);
    for (const [name, value] of told) expect(resolveOptions({ [name]: value }), name).toEqual(resolveOptions({}));
    expect(resolveOptions({ refresh: {}, lifespan: '1h' })).toEqual(resolveOptions({ refresh: {} }));
    for (const [group, options] of Object.entries(GROUPS).filter(([name]) => name !== 'limit')) {
      for (const [name, value] of literals(options)) {
        expect(resolveOptions({ [group]: { [name]: value } }), `${group}.${name}`).toEqual(
          resolveOptions({ [group]: {} }),
        );
      }
    }
    for (const [name, value] of literals(STRUCTURAL)) {
      expect(resolveStructure({ [name]: value }), name).toEqual(resolveStructure({}));
    }
  });
});
