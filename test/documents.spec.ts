import { existsSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { runInNewContext } from 'node:vm';
import { Controller, Get, type INestApplication, type ModuleMetadata } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { JwtService } from '@nestjs/jwt';
import { Test } from '@nestjs/testing';
import { TypeOrmModule, type TypeOrmModuleOptions } from '@nestjs/typeorm';
import { hashSync } from 'bcryptjs';
import {
  CurrentToken,
  CurrentUser,
  ExpiringTokenModule,
  PersonalTokenService,
  Public,
  Token,
  User,
  UserService,
} from 'nestjs-expiring-token';
import { DataSource } from 'typeorm';
import ts from 'typescript';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { resolveOptions } from '../lib/options/resolve-options.js';
import { resolveModuleOptions } from '../lib/expiring-token.module-options.js';
import { uuidV7 } from '../lib/database/uuid-v7.js';
import { generateToken } from '../lib/tokens/secret/token-secret.js';
import { hashPassword } from '../lib/users/password-hash.js';
import { sqliteDriver } from './fixtures/databases.js';
import { anchorsOf, type Block, blocksOf, compileBlocks, compiled, documents, linksOf } from './fixtures/documents.js';
import { bearer, request } from './fixtures/http.js';

const ROOT = resolve(import.meta.dirname, '..');
const blocks = documents.flatMap(blocksOf);
const readme = documents.find(({ path }) => path === 'README.md')!;

const ANN = { username: 'ann', email: 'ann@example.org', password: 'correct horse battery staple' };

const database = (): TypeOrmModuleOptions => ({
  type: 'better-sqlite3',
  driver: sqliteDriver,
  database: ':memory:',
  autoLoadEntities: true,
  synchronize: true,
});

@Controller('me')
class MeController {
  @Get()
  me(@CurrentUser() user: unknown, @CurrentToken() token: Token | null) {
    return { user, device: token && token.name };
  }

  @Public()
  @Get('public')
  public() {
    return { public: true };
  }
}

/** An application that is built from modules in the documentation. */
async function start(imports: ModuleMetadata['imports']): Promise<INestApplication> {
  const module = await Test.createTestingModule({
    imports: [TypeOrmModule.forRoot(database()), ...imports!],
    controllers: [MeController],
  }).compile();
  const app = module.createNestApplication({ logger: false });
  await app.listen(0, '127.0.0.1');
  return app;
}

describe('The TypeScript examples in the documentation', () => {
  let problems: Map<Block, string[]>;
  let app: INestApplication | undefined;
  // A busy machine needs more than the default time.
  beforeAll(() => {
    problems = compileBlocks(blocks);
  }, 180_000);
  afterEach(async () => {
    await app?.close();
    app = undefined;
    vi.unstubAllEnvs();
    vi.restoreAllMocks();
  });

  it.each(blocks.map((block): [string, Block] => [`${block.document}:${block.line}`, block]))(
    'compile against the package: %s',
    (_, block) => {
      expect(problems.get(block)).toEqual([]);
    },
  );

  it('contain the application of README.md, which logs users in and out as the text says', async () => {
    const forRoot = TypeOrmModule.forRoot.bind(TypeOrmModule);
    // With the SQLite driver that the tests use.
    vi.spyOn(TypeOrmModule, 'forRoot').mockImplementation((options) => forRoot({ ...options, driver: sqliteDriver }));
    const { AppModule } = await import(compiled('README.md', 'app.module.js'));
    app = await NestFactory.create(AppModule, { logger: false });
    await app.listen(0, '127.0.0.1');
    const origin = await app.getUrl();

    expect(await request(origin, '/me')).toMatchObject({ status: 401, json: { code: 'token_missing' } });
    const { token } = (await request(origin, '/auth/login', { method: 'POST', body: ANN })).json;
    const me = () => request(origin, '/me', { headers: bearer(token) });
    expect(await me()).toMatchObject({ status: 200, json: { username: ANN.username } });
    const logout = await request(origin, '/auth/logout', { method: 'POST', headers: bearer(token) });
    expect(logout.status).toBe(204);
    expect(await me()).toMatchObject({ status: 401, json: { code: 'token_invalid' } });
  });

  it('contain the application of docs/from-jwt.md, which accepts both kinds of token', async () => {
    const secret = 'a secret that is long enough for HS256';
    vi.stubEnv('JWT_SECRET', secret);
    const { AuthModule } = await import(compiled('docs/from-jwt.md', 'auth.module.js'));
    app = await start([AuthModule]);
    const origin = await app.getUrl();
    const me = (token?: string, path = '/me') => request(origin, path, { headers: token ? bearer(token) : [] });
    const { id } = await app
      .get(DataSource)
      .getRepository('Account')
      .save({
        email: ANN.email,
        passwordHash: await hashPassword(ANN.password),
      });
    const user = { id, email: ANN.email };

    const jwt = new JwtService({ secret });
    expect(await me(jwt.sign({ sub: id }))).toMatchObject({ status: 200, json: { user, device: null } });
    expect((await me(jwt.sign({ sub: id }, { expiresIn: -1 }))).status).toBe(401);
    expect((await me(jwt.sign({ sub: id }, { secret: 'another' }))).status).toBe(401);
    expect((await me(jwt.sign({ sub: id + 1 }))).status).toBe(401);
    expect((await me(jwt.sign({ sub: id }, { expiresIn: -1 }), '/me/public')).status).toBe(200);

    const body = { email: ANN.email, password: ANN.password, deviceName: 'phone' };
    const { token } = (await request(origin, '/auth/login', { method: 'POST', body })).json;
    expect(await me(token)).toMatchObject({ status: 200, json: { user, device: 'phone' } });
    await request(origin, '/auth/logout', { method: 'POST', headers: bearer(token) });
    expect(await me(token)).toMatchObject({ status: 401, json: { code: 'token_invalid' } });
    expect(await me()).toMatchObject({ status: 401, json: { code: 'token_missing' } });
  });

  it('contain the MCP server of docs/mcp-server.md, whose challenge names its metadata', async () => {
    const { McpModule } = await import(compiled('docs/mcp-server.md', 'mcp.module.js'));
    app = await start([McpModule]);
    const origin = await app.getUrl();
    const { id } = await app.get(UserService, { strict: false }).create(ANN.username, ANN.password);
    const { plainText } = await app.get(PersonalTokenService, { strict: false }).issue(id, { name: 'assistant' });
    const send = async (body: object, token?: string) =>
      request(origin, '/mcp', {
        method: 'POST',
        body: { jsonrpc: '2.0', ...body },
        headers: token ? bearer(token) : [],
      });

    const refused = await send({ id: 1, method: 'initialize' });
    expect(refused.status).toBe(401);
    const [, url] = /resource_metadata="(.*?)"/.exec(refused.headers['www-authenticate']!)!;
    const document = documents.find(({ path }) => path === 'docs/mcp-server.md')!;
    expect(document.text).toContain(`WWW-Authenticate: ${refused.headers['www-authenticate']}\n`);
    const metadata = await request(origin, new URL(url!).pathname);
    expect(metadata.json.resource).toBe(new URL('/mcp', url).href);

    const initialized = await send(
      { id: 1, method: 'initialize', params: { protocolVersion: '2025-06-18' } },
      plainText,
    );
    expect(initialized).toMatchObject({ status: 200, json: { id: 1, result: { protocolVersion: '2025-06-18' } } });
    const notified = await send({ method: 'notifications/initialized' }, plainText);
    expect([notified.status, notified.text]).toEqual([202, '']);
    const { json } = await send({ id: 'a', method: 'tools/list' }, plainText);
    const [{ name }] = json.result.tools;
    const called = await send({ id: 'b', method: 'tools/call', params: { name } }, plainText);
    expect(called.json).toEqual({
      jsonrpc: '2.0',
      id: 'b',
      result: { content: [{ type: 'text', text: ANN.username }] },
    });
    expect((await send({ id: 2, method: 'nonsense' }, plainText)).json.error.code).toBe(-32601);
    expect((await request(origin, '/auth/devices', { headers: bearer(plainText) })).json.code).toBe('login_required');
  });

  it('contain the user store of docs/users.md, which replaces a bcrypt hash when the user logs in', async () => {
    const { Account } = await import(compiled('docs/users.md', 'accounts.js'));
    const { BcryptAccounts } = await import(compiled('docs/users.md', 'bcrypt-accounts.js'));
    const forFeature = TypeOrmModule.forFeature([Account]);
    app = await start([forFeature, ExpiringTokenModule.forRoot({ users: BcryptAccounts })]);
    const origin = await app.getUrl();
    const accounts = app.get(DataSource).getRepository<{ email: string; passwordHash: string }>('Account');
    await accounts.save({ email: ANN.username, passwordHash: hashSync(ANN.password, 4) });
    const login = async (password: string) =>
      (await request(origin, '/auth/login', { method: 'POST', body: { username: ANN.username, password } })).status;
    const stored = async () => (await accounts.findOne({ select: { passwordHash: true }, where: {} }))!.passwordHash;

    expect(await login('wrong')).toBe(401);
    expect(await stored()).toMatch(/^\$2/);
    expect(await login(ANN.password)).toBe(200);
    expect(await stored()).toMatch(/^\$argon2id\$/);
    expect([await login('wrong'), await login(ANN.password)]).toEqual([401, 200]);
  });
});

describe('docs/api-tokens.md', () => {
  const { text } = documents.find(({ path }) => path === 'docs/api-tokens.md')!;
  const blockOf = (language: string) => new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'ms').exec(text)![1]!;

  it('contains the regular expression of personal tokens, with which secret scanners find them', () => {
    const pattern = new RegExp(blockOf('text').trim(), 'g');
    for (let turn = 0; turn < 100; turn++) {
      const token = generateToken('extp_', uuidV7(turn));
      expect(`TOKEN="${token}"`.match(pattern)).toEqual([token]);
    }
    expect(generateToken('ext_', uuidV7(0)).match(pattern)).toBeNull();
  });

  it('contains a settings page of about thirty lines', () => {
    const page = blockOf('html');
    expect(page.split('\n').length).toBeLessThan(38);
  });
});

describe('The documentation', () => {
  it.each(documents)('links only to existing pages and headings: $path', (document) => {
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

  it('is completely reachable from README.md', () => {
    const guides = documents.map(({ path }) => path).filter((path) => path.startsWith('docs/'));
    const linked = new Set(linksOf(readme).map((link) => link.split('#')[0]));
    expect(guides.filter((guide) => !linked.has(guide))).toEqual([]);
  });
});

/** An option as its TSDoc describes it. */
interface Documented {
  name: string;
  /** The value of `@defaultValue`. */
  defaultValue: string;
}

const sources = [
  'lib/options/expiring-token.options.ts',
  'lib/options/nested.options.ts',
  'lib/expiring-token.module-options.ts',
].map((file) => ts.createSourceFile(file, ts.sys.readFile(join(ROOT, file))!, ts.ScriptTarget.Latest, true));

/** The options of an interface, read from its source file. */
function optionsOf(name: string): Documented[] {
  const declaration = sources
    .flatMap(({ statements }) => statements)
    .find(
      (statement) => ts.isInterfaceDeclaration(statement) && statement.name.text === name,
    ) as ts.InterfaceDeclaration;
  return declaration.members.map((member) => {
    const tag = ts.getJSDocTags(member).find(({ tagName }) => tagName.text === 'defaultValue');
    return { name: member.name!.getText(), defaultValue: ts.getTextOfJSDocComment(tag?.comment) ?? '' };
  });
}

const RUNTIME = optionsOf('ExpiringTokenOptions');
const STRUCTURAL = optionsOf('ExpiringTokenStructuralOptions');

/** The options that have nested options. */
const GROUPS = {
  refresh: optionsOf('RefreshOptions'),
  personal: optionsOf('PersonalOptions'),
  limit: optionsOf('LimitOptions'),
  loginThrottle: optionsOf('LoginThrottleOptions'),
  cache: optionsOf('CacheOptions'),
  prune: optionsOf('PruneOptions'),
  passwords: optionsOf('PasswordOptions'),
};

/** The default value, if it is written as code and not in words. */
const literalOf = ({ defaultValue }: Documented): string | undefined => /^`([^`]+)`(?:;|$)/.exec(defaultValue)?.[1];

/** The options among the given ones that have such a default, with its value. */
const literals = (options: readonly Documented[]): [name: string, value: unknown][] =>
  options.flatMap((option) => {
    const code = literalOf(option);
    return code === undefined ? [] : [[option.name, runInNewContext(`(${code})`, { Token, User })]];
  });

const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);

describe('The documented options', () => {
  const rows = [...readme.text.matchAll(/^\| `(\w+)` +\| (.*?) +\| (.*?) +\|$/gm)].map(
    ([, name = '', defaultValue = '', meaning = '']) => ({ name, defaultValue, meaning }),
  );

  it('are all in the tables of README.md, each once, with the default from its TSDoc', () => {
    const documented = rows.map(({ name, defaultValue }) => ({ name, defaultValue }));
    expect(documented.toSorted(byName)).toEqual([...RUNTIME, ...STRUCTURAL].toSorted(byName));
  });

  it.each(Object.entries(GROUPS))('below %s are all in its row, with their defaults', (group, options) => {
    const { defaultValue, meaning } = rows.find(({ name }) => name === group)!;
    for (const option of options) {
      const code = literalOf(option);
      expect(defaultValue + meaning, option.name).toContain(
        code === undefined ? option.name : `${option.name}: ${code}`,
      );
    }
  });

  it('have the documented defaults', () => {
    const documented = literals(RUNTIME);
    expect(documented.length).toBeGreaterThan(12);
    for (const [name, value] of documented) expect(resolveOptions({ [name]: value }), name).toEqual(resolveOptions({}));
    expect(resolveOptions({ refresh: {}, lifespan: '1h' })).toEqual(resolveOptions({ refresh: {} }));
    for (const [group, options] of Object.entries(GROUPS).filter(([name]) => name !== 'limit')) {
      for (const [name, value] of literals(options)) {
        expect(resolveOptions({ [group]: { [name]: value } }), `${group}.${name}`).toEqual(
          resolveOptions({ [group]: {} }),
        );
      }
    }
    for (const [name, value] of literals(STRUCTURAL)) {
      expect(resolveModuleOptions({ [name]: value }), name).toEqual(resolveModuleOptions({}));
    }
  });
});
