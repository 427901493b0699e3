import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readdirSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type ExpiringTokenModuleOptions, PersonalTokenService, Token } from 'nestjs-expiring-token';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { importFile } from '../lib/command-line/import-file.js';
import { uuidV7 } from '../lib/database/uuid-v7.js';
import { rowOfImported } from '../lib/tokens/secret/imported-token.js';
import { onEveryDatabase, PASSWORD, type TestApp, type TestEnvironment } from './fixtures/app.js';
import { Project } from './fixtures/command-line.js';

const DAY_MS = 24 * 3_600_000;

/** Each process starts Nest and TypeORM. */
const TIMEOUT_MS = 120_000;

const options = { timeout: TIMEOUT_MS };

let project: Project;
beforeAll(async () => {
  project = await Project.create();
}, TIMEOUT_MS);
afterAll(() => project.close());

/** An application beside the command, with the same clock. */
async function boot(environment: TestEnvironment, more: ExpiringTokenModuleOptions = {}): Promise<TestApp> {
  const app = await environment.boot({ options: { imported: ['drf'], ...more } });
  app.clock.now = Date.now();
  return app;
}

/** Tokens with a lifespan of 30 days. */
async function putTokens(app: TestApp, count: number, ageDays: number): Promise<void> {
  const row = () => ({
    id: uuidV7(app.clock.now),
    userId: 'somebody',
    deviceId: uuidV7(app.clock.now),
    purpose: 'access' as const,
    digest: randomBytes(32),
    created: new Date(app.clock.now - ageDays * DAY_MS),
  });
  await app.dataSource.getRepository(Token).insert(Array.from({ length: count }, row));
}

const key = () => randomBytes(20).toString('hex');

describe('The command line', () => {
  onEveryDatabase(
    (environment) => {
      it('creates a user with a password from standard input, and the user can log in', options, async () => {
        const app = await boot(environment);
        const source = project.dataSource('created.js', environment);
        const run = await project.spawn(['create-user', 'ann', '-d', source, '--json'], `${PASSWORD}\n`);
        expect(run).toMatchObject({ code: 0, stderr: '[dotenv] injecting env\n' });
        const { id, username, ...rest } = JSON.parse(run.stdout);
        expect({ username, rest }).toEqual({ username: 'ann', rest: {} });
        expect((await app.login('ann')).status).toBe(200);
        expect((await app.get('/me', await app.token(id))).json.user.id).toBe(id);
        expect(await project.run(['create-user', 'ann', '-d', source, '--no-password'])).toMatchObject({
          code: 1,
          stdout: '',
          stderr: expect.stringContaining('nestjs-expiring-token: User name is taken\n'),
        });
      });

      it('prints only the issued token on stdout, lists its device and revokes it', options, async () => {
        const app = await boot(environment);
        const user = await app.createUser();
        const source = project.dataSource('issued.js', environment);
        const name = ['--name', 'nightly export', '--scope', 'notes:read', '--scope', 'notes:write'];
        const issued = await project.run(['issue', user.username, '-d', source, '--lifespan', '7d', ...name]);
        expect(issued).toMatchObject({ code: 0, stdout: expect.stringMatching(/^ext_[\w-]{70}\n$/) });
        const token = issued.stdout.trim();
        expect(issued.stderr).not.toContain(token);
        const me = await app.get('/me', token);
        expect(me.json).toMatchObject({
          user: { id: user.id },
          token: { name: 'nightly export', lifespan: 7 * DAY_MS, scopes: ['notes:read', 'notes:write'] },
        });

        // The second call finds the user by id.
        await app.usesWritten();
        const [device] = await app.tokens.list(user.id);
        const listed = await project.run(['list', user.id, '-d', source, '--json']);
        expect(JSON.parse(listed.stdout)).toEqual(JSON.parse(JSON.stringify([device])));

        const revoke = ['revoke', user.username, device!.id, '-d', source];
        expect(await project.run(revoke)).toMatchObject({ code: 0, stdout: '1 device revoked\n' });
        app.clock.now = Date.now();
        expect((await app.get('/me', token)).json.code).toBe('token_invalid');
        expect(await project.run(revoke)).toMatchObject({
          code: 1,
          stdout: '',
          stderr: expect.stringContaining(`${user.username} has no active device ${device!.id}`),
        });
      });

      it('makes personal tokens, lists, rotates and revokes them', options, async () => {
        const app = await boot(environment, { personal: true });
        const user = await app.createUser();
        const source = project.dataSource(
          'personal.js',
          environment,
          'export const expiringToken = { personal: { longest: null } };',
        );
        const tokens = (verb: string, ...more: string[]) =>
          project.run(['tokens', verb, user.username, ...more, '-d', source]);
        const created = await tokens('create', '--name', 'nightly export', '--lifespan', '7d');
        expect(created).toMatchObject({ code: 0, stdout: expect.stringMatching(/^extp_[\w-]{70}\n$/) });
        const token = created.stdout.trim();
        expect(created.stderr).not.toContain(token);
        const { json } = await app.get('/me', token);
        expect(json).toMatchObject({ user: { id: user.id }, token: { name: 'nightly export', lifespan: 7 * DAY_MS } });
        const { deviceId: id } = json.token;
        expect(created.stderr).toContain(`Personal token ${id}, expires `);

        await app.usesWritten();
        const listed = await tokens('list', '--json');
        const personal = app.nest.get(PersonalTokenService);
        expect(JSON.parse(listed.stdout)).toEqual(JSON.parse(JSON.stringify(await personal.list(user.id))));
        expect((await tokens('list')).stdout).toMatch(
          new RegExp(`^TOKEN +CREATED +LAST USED +EXPIRES +SCOPES +NAME\n${id} .* all +nightly export\n$`),
        );

        const rotated = await tokens('rotate', id, '--overlap', '1h', '--json');
        const successor = JSON.parse(rotated.stdout);
        expect(successor).toMatchObject({ id, token: expect.stringMatching(/^extp_/) });
        app.clock.now = Date.now();
        for (const each of [token, successor.token]) expect((await app.get('/me', each)).status).toBe(200);

        expect(await tokens('revoke', id)).toMatchObject({ code: 0, stdout: '1 personal token revoked\n' });
        for (const each of [token, successor.token])
          expect((await app.get('/me', each)).json.code).toBe('token_invalid');
        expect(await tokens('revoke', id)).toMatchObject({
          code: 1,
          stdout: '',
          stderr: expect.stringContaining(`${user.username} has no valid personal token ${id}`),
        });
        expect((await tokens('list')).stdout).toBe('No personal tokens\n');
        const never = await tokens('create', '--name', 'x', '--lifespan', 'never', '--json');
        expect(JSON.parse(never.stdout).expiresAt).toBeNull();
        const without = project.dataSource('impersonal.js', environment);
        expect(await project.run(['tokens', 'create', user.id, '--name', 'x', '-d', without])).toMatchObject({
          code: 1,
          stdout: '',
          stderr: expect.stringContaining('needs the option personal'),
        });
        expect(await project.run(['tokens', 'create', user.id, '-d', source])).toMatchObject({
          code: 2,
          stderr: expect.stringContaining("required option '--name <name>' not specified"),
        });
      });

      it('prunes tokens that expired before the retention, and no others', options, async () => {
        const app = await boot(environment);
        await app.dataSource.getRepository(Token).deleteAll();
        await putTokens(app, 40, 60);
        await putTokens(app, 2, 32);
        const source = project.dataSource(
          'pruned.js',
          environment,
          "export const expiringToken = { prune: { retention: '40d' } };",
        );
        const prune = (...more: string[]) => project.run(['prune', '-d', source, ...more]);
        expect(await prune('--json')).toMatchObject({ code: 0, stdout: '{"deleted":0}\n' });
        expect(await prune('--retention', '7d')).toMatchObject({ code: 0, stdout: '40 expired tokens deleted\n' });
        expect(await app.countTokens()).toBe(2);
      });

      it('imports tokens once, and the application accepts them', options, async () => {
        const app = await boot(environment);
        const user = await app.createUser();
        const [first, second] = [key(), key()];
        const yesterday = new Date(app.clock.now - DAY_MS).toISOString().slice(0, 19).replace('T', ' ');
        const row = (imported: string, ...more: string[]) => [imported, user.id, yesterday, ...more].join(',');
        const header = 'key,userId,created,lifespan,name,lastUsedAt';
        const rows = [row(first, '', '', ''), row(second, 'never', '"A ""b"",\nc"', `${yesterday}.123456+00`)];
        const file = project.write('tokens.csv', `\ufeff${[header, ...rows].join('\r\n')}\r\n`);
        const source = project.dataSource(
          'imported.js',
          environment,
          "export const expiringToken = { imported: ['drf'] };",
        );
        expect(await project.run(['import', file, '-d', source])).toMatchObject({
          code: 0,
          stdout: '2 tokens imported, 0 skipped that were there already\n',
          stderr: '[dotenv] injecting env\n',
        });
        expect((await app.get('/me', first)).json.user.id).toBe(user.id);
        expect((await app.get('/me', second)).json.token).toMatchObject({
          name: 'A "b",c',
          created: `${yesterday.replace(' ', 'T')}.000Z`,
        });
        const everlasting = (await app.tokens.list(user.id)).filter(({ expiresAt }) => expiresAt === null);
        expect(everlasting).toHaveLength(1);
        expect(await app.tokens.list(user.id)).toHaveLength(2);
        const again = await project.run(['import', file, '-d', source, '--json']);
        expect(JSON.parse(again.stdout)).toEqual({ imported: 0, skipped: 2 });
      });
    },
    ['sqlite', 'postgres'],
  );

  onEveryDatabase(
    (environment) => {
      it('issues a token that the application accepts', options, async () => {
        const app = await boot(environment);
        const user = await app.createUser();
        const source = project.dataSource('smoke.js', environment);
        const { stdout } = await project.run(['issue', user.username, '-d', source, '--json']);
        const { token, deviceId, expiresAt } = JSON.parse(stdout);
        expect((await app.get('/me', token)).json).toMatchObject({ user: { id: user.id }, token: { deviceId } });
        expect(expiresAt).toBe((await app.tokens.list(user.id))[0]!.expiresAt!.toISOString());
      });
    },
    ['mariadb'],
  );

  onEveryDatabase(
    (environment) => {
      let app: TestApp;
      let source: string;
      beforeEach(async () => {
        app = await boot(environment);
        source = project.dataSource('source.js', environment);
      });

      describe('finds a user', () => {
        it('by id or by name, and asks which one is meant if both find somebody', options, async () => {
          const user = await app.createUser();
          const other = await app.createUser(user.id);
          await app.tokens.issue(other.id, { name: 'of the other' });
          const list = (...more: string[]) => project.run(['list', user.id, '-d', source, ...more]);
          expect(await list()).toMatchObject({
            code: 1,
            stdout: '',
            stderr: expect.stringContaining('use --by id or --by username'),
          });
          expect((await list('--by', 'id')).stdout).toBe('No active devices\n');
          expect((await list('--by', 'username')).stdout).toMatch(/^DEVICE +CREATED +.*\n.* of the other\n$/);
        });

        it('or says that there is no such user', options, async () => {
          expect(await project.run(['revoke', 'nobody', '-d', source])).toMatchObject({
            code: 1,
            stdout: '',
            stderr: '[dotenv] injecting env\nnestjs-expiring-token: There is no user nobody\n',
          });
        });

        it("of the application's user store, and escapes control characters in names", options, async () => {
          const { dataSource } = app;
          await dataSource.query('CREATE TABLE IF NOT EXISTS member (nr integer PRIMARY KEY, mail text, hash text)');
          await dataSource.query("INSERT INTO member VALUES (7, 'ann@example.org', NULL)");
          await app.tokens.issue('7', { name: 'zero\u200bwidth' });
          const own = project.dataSource(
            'own-users.js',
            environment,
            `import { typeOrmUsers } from 'nestjs-expiring-token';
            import { Column, Entity, PrimaryColumn } from 'typeorm';
            class Account {}
            PrimaryColumn('integer')(Account.prototype, 'nr');
            for (const name of ['mail', 'hash']) Column('text')(Account.prototype, name);
            Entity('member')(Account);
            options.entities = [Account];
            const users = typeOrmUsers(Account, { id: 'nr', username: 'mail', password: 'hash' });
            export const expiringToken = { users, prefix: 'acme_', lifespan: '15m' };`,
          );
          const listed = await project.run(['list', 'ann@example.org', '-d', own]);
          expect(listed.stdout).toContain('zero\\u{200b}width\n');
          expect((await project.run(['issue', '7', '-d', own])).stdout).toMatch(/^acme_/);
          expect(await project.run(['create-user', 'bob', '-d', own], PASSWORD)).toMatchObject({
            code: 1,
            stderr: expect.stringContaining('The users are in a store of the application'),
          });
        });
      });

      describe('accepts a data source', () => {
        it.each([
          [
            'that a CommonJS file promises',
            'promised.cjs',
            'exports.source = Promise.resolve(new DataSource(options));',
          ],
          ['that a default export makes', 'made.cjs', 'exports.default = async () => new DataSource(options);'],
        ])('%s', options, async (_, name, end) => {
          const given = JSON.stringify({ ...environment.databaseOptions, driver: undefined });
          const driver = JSON.stringify(process.env.TEST_SQLITE_DRIVER ?? 'libsql');
          project.write(
            name,
            `const { DataSource } = require('typeorm');
            const options = { ...${given}, driver: require(${driver}) };
            ${end}`,
          );
          const run = await project.run(['prune', '-d', name, '--json']);
          expect(run).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\{"deleted":\d+\}\n$/) });
        });

        it('with existing tables, and creates none', options, async () => {
          const empty = join(project.directory, 'empty.sqlite');
          const bare = project.dataSource(
            'bare.js',
            environment,
            `options.database = ${JSON.stringify(empty)}; options.synchronize = true;`,
          );
          expect(await project.run(['prune', '-d', bare])).toMatchObject({
            code: 1,
            stderr: expect.stringMatching(/\nnestjs-expiring-token: no such table: auth_token.*\n$/),
          });
        });

        it.each([
          ['that is not there', 'nowhere.js', undefined, 'There is no file nowhere.js'],
          [
            'that exports none',
            'none.js',
            'export const a = 1;',
            'none.js must export a DataSource, or a promise of one',
          ],
          ['that cannot be read', 'broken.js', 'export const = 1;', 'Cannot load broken.js: '],
          [
            'that cannot be reached, of whose URL it does not show the password',
            'away.js',
            `import { DataSource } from 'typeorm';
            export default new DataSource({ type: 'postgres', url: 'postgres://app:geheim@127.0.0.1:1/app' });`,
            'Cannot connect to the database: connect ECONNREFUSED 127.0.0.1:1 (ECONNREFUSED)',
          ],
        ])('but reports one %s', options, async (_, name, text, message) => {
          if (text) project.write(name, text);
          const run = await project.run(['list', 'ann', '-d', name]);
          expect(run).toMatchObject({ code: 1, stdout: '' });
          const [line, ...more] = run.stderr.split('\n');
          expect(line).toContain(`nestjs-expiring-token: ${message}`);
          expect(more).toEqual(['']);
          expect(run.stderr).not.toContain('geheim');
        });
      });

      it('reads an empty cell of scopes or abilities of an import file as a token that may do nothing', async () => {
        const cells = {
          scopes: ['notes:read notes:write', ''],
          abilities: ['"[""*""]"', '"[""notes:read""]"', ''],
        };
        const read: Record<string, unknown[]> = {};
        for (const [column, values] of Object.entries(cells)) {
          const user = await app.createUser();
          const keys = values.map(key);
          const lines = values.map((cell, index) => `${keys[index]},${user.id},${new Date().toISOString()},${cell}`);
          const file = project.write(`${column}.csv`, `key,userId,created,${column}\n${lines.join('\n')}\n`);
          await importFile(app.tokens, join(project.directory, file), () => undefined, new AbortController().signal);
          read[column] = [];
          for (const imported of keys) read[column].push((await app.tokens.authenticate(imported)).token.scopes);
        }
        expect(read).toEqual({ scopes: [['notes:read', 'notes:write'], []], abilities: [null, ['notes:read'], []] });
      });

      describe('names the line of an import file', () => {
        const good = () => `${key()},1,2026-01-31T12:00:00Z`;
        it.each([
          ['that is empty', () => '', 1, 'there is no header: name the columns in it'],
          [
            'that names a column twice',
            () => `key,userId,created,userId\n${good()},2\n`,
            1,
            'there is more than one column userId: keep one of them',
          ],
          ['whose header is a token', () => `${good()}\n`, 1, 'column 1 has another name than userId, key'],
          [
            'with a time that is none',
            () => `key,userId,created\n${good()}\n${key()},1,2026-02-30 12:00:00\n`,
            3,
            'created must be a time',
          ],
          [
            'with a key that is none',
            () => `key,userId,created\n${good()}\nsecret-key,1,2026-01-31 12:00:00\n`,
            3,
            'key must be 40 hexa',
          ],
          [
            'with another key for a lifespan',
            () => `key,userId,created,lifespan\n${good()},\n${key()},1,2026-01-31 12:00:00,${key()}\n`,
            3,
            'lifespan must be a duration',
          ],
          [
            'without a user',
            () => `key,userId,created\n${good()}\n${key()},,2026-01-31 12:00:00\n`,
            3,
            'userId must be a string of 1 to 255 characters without a space at its end. Lines before it were imported',
          ],
          [
            'with a cell too few',
            () => `key,userId,created\n${good()}\n${key()},1\n`,
            3,
            'there are 2 cells, and 3 columns',
          ],
          [
            'with text after a quote',
            () => `key,userId,created\n${good()}\n${good()}\n"a"b,1\n`,
            4,
            'text follows the closing quote',
          ],
          [
            'with a quote that nothing closes',
            () => `key,userId,created\n\n${good()}\n"${key()},1\n\n${good()}\n`,
            4,
            'a quote is opened and not closed',
          ],
        ])('%s, and shows no value', async (_, textOf, line, problem) => {
          const text = textOf();
          const path = join(project.directory, project.write('bad.csv', text));
          const read = importFile(app.tokens, path, () => undefined, new AbortController().signal);
          const { message } = await read.then(
            () => expect.fail('it was imported'),
            (error: Error) => error,
          );
          expect(message).toContain(`bad.csv, line ${line}: ${problem}`);
          for (const [index, secret] of (text.match(/[0-9a-f]{40}|secret-key/g) ?? []).entries())
            expect(message, `secret ${index}`).not.toContain(secret);
        });

        it('that is not UTF-8, in which names would be garbled', async () => {
          const path = join(project.directory, 'latin1.csv');
          writeFileSync(path, `key,userId,created,name\n${good()},Büro\n`, 'latin1');
          const read = importFile(app.tokens, path, () => undefined, new AbortController().signal);
          await expect(read).rejects.toThrow('latin1.csv, line 1: what follows is not UTF-8');
        });

        it('and imports nothing if there is only the header', async () => {
          const text = 'key,userId,created\nsecret-key,1,2026-01-31T12:00:00Z\n';
          const path = join(project.directory, project.write('bad.csv', text));
          const before = await app.countTokens();
          const read = importFile(app.tokens, path, () => undefined, new AbortController().signal);
          await expect(read).rejects.toThrow(/line 2: (?!.*imported)/);
          expect(await app.countTokens()).toBe(before);
        });

        it('on stderr, with the number of tokens imported before it', options, async () => {
          const file = project.write('bad.csv', `key,userId,created\n${good()}\n${key()},,2026-01-31T12:00:00Z\n`);
          const before = await app.countTokens();
          const run = await project.run(['import', file, '-d', source]);
          expect(run).toMatchObject({ code: 1, stdout: '' });
          expect(run.stderr).toMatch(/bad\.csv, line 3: userId must be .*Lines before it were imported.*\n$/);
          expect(await app.countTokens()).toBe(before + 1);
        });
      });

      it.each([
        ['in another encoding than UTF-8', 'erik', Buffer.from('Grün-und-lang-genug', 'latin1')],
        ['after a byte order mark', 'fred', Buffer.from(`\ufeff${PASSWORD}`)],
      ])('creates no user if the password is %s', options, async (_, name, password) => {
        expect(await project.run(['create-user', name, '-d', source], password)).toMatchObject({
          code: 1,
          stdout: '',
          stderr: expect.stringMatching(
            /: The password on standard input must be UTF-8, and without a byte order mark\n$/,
          ),
        });
        // The name is still available.
        await app.createUser(name);
      });

      it('creates no user if the password is shorter than the option passwords allows', options, async () => {
        const run = await project.run(['create-user', 'gina', '-d', source], 'seven77');
        expect(run).toMatchObject({ code: 1, stdout: '' });
        expect(run.stderr).toMatch(/: password must be at least 8 characters /);
        await app.createUser('gina');
      });

      describe('on a terminal', () => {
        it('asks for the password twice without showing it', options, async () => {
          const answers = [
            ['User name', 'carl\r'],
            ['Password', `${PASSWORD}\r`],
            ['Password again', `${PASSWORD}\r`],
          ] as const;
          const run = await project.terminal(`create-user -d ${source}`, answers);
          expect(run).toMatchObject({ code: 0, stdout: expect.stringContaining('User carl created: ') });
          expect(run.stdout).not.toContain(PASSWORD.slice(0, 4));
          expect((await app.login('carl')).status).toBe(200);
        });

        it('creates no user after Ctrl-C at the password prompt', options, async () => {
          const run = await project.terminal(`create-user dora -d ${source}`, [['Password', '\x03']]);
          expect(run.code).toBe(130);
          expect((await app.login('dora')).status).toBe(401);
        });

        it('draws a progress bar, without colours if NO_COLOR is set', options, async () => {
          const tokens = Array.from({ length: 1000 }, () => ({ key: key(), userId: '1', created: new Date(0) }));
          // The records are skipped one by one without a write, and this takes longer than the 80 ms after which the bar appears.
          for (let index = 0; index < tokens.length; index += 500) {
            const rows = tokens.slice(index, index + 500).map((token) => rowOfImported(token, null));
            await app.dataSource.getRepository(Token).insert(rows);
          }
          const lines = tokens.map((token) => `${token.key},1,1970-01-01T00:00:00Z`);
          const file = project.write('many.csv', ['key,userId,created', ...lines].join('\n'));
          const { code, stdout } = await project.terminal(`import ${file} -d ${source}`);
          expect(code).toBe(0);
          expect(stdout).toContain('\x1b[35m');
          expect(stdout).toMatch(/[━=]+.* \d+ read/);
          expect(stdout).toContain('0 tokens imported, 1000 skipped');
          const slow = project.dataSource(
            'slow.js',
            environment,
            'export const expiringToken = { prune: { batch: 10 } };',
          );
          const pruned = await project.terminal(`prune -d ${slow}`, [], { NO_COLOR: '1' });
          expect(pruned.stdout).toMatch(/[━=]{40} \d+ deleted/);
          expect(pruned.stdout).not.toContain('\x1b[3');
        });

        it('stops between two batches after Ctrl-C, and prints what was done', options, async () => {
          await app.dataSource.getRepository(Token).deleteAll();
          for (let index = 0; index < 4000; index += 500) await putTokens(app, 500, 60);
          const slow = project.dataSource(
            'slow.js',
            environment,
            'export const expiringToken = { prune: { batch: 1 } };',
          );
          const run = await project.terminal(`prune -d ${slow}`, [[' deleted', '\x03']]);
          expect(run.code).toBe(130);
          const [, deleted] = /(\d+) expired tokens? deleted, then interrupted/.exec(run.stdout)!;
          expect(await app.countTokens()).toBe(4000 - Number(deleted));
          expect(Number(deleted)).toBeGreaterThan(0);
          expect(Number(deleted)).toBeLessThan(4000);
        });
      });

      it('stops at SIGTERM and prints what was done as JSON', options, async () => {
        await app.dataSource.getRepository(Token).deleteAll();
        for (let index = 0; index < 4000; index += 500) await putTokens(app, 500, 60);
        const slow = project.dataSource(
          'slow.js',
          environment,
          'export const expiringToken = { prune: { batch: 1 } };',
        );
        let stop = () => {};
        const run = project.spawn(['prune', '-d', slow, '--json'], '', (child) => {
          stop = () => void child.kill('SIGTERM');
        });
        await expect.poll(() => app.countTokens(), options).toBeLessThan(4000);
        stop();
        const { code, stdout } = await run;
        expect(code).toBe(143);
        const left = await app.countTokens();
        expect(left).toBeGreaterThan(0);
        expect(JSON.parse(stdout)).toEqual({ deleted: 4000 - left, interrupted: true });
      });

      it('stops at Ctrl-C while it waits for the rest of a line from a pipe', options, async () => {
        const pipe = join(project.directory, 'pipe');
        execFileSync('mkfifo', [pipe]);
        // A pipe that is opened for reading and writing does not block until the program opens it.
        const writer = openSync(pipe, 'r+');
        writeSync(writer, `key,userId,created\n${key()},1,2026-01-31T12:00:00Z\n${key()},1,`);
        const before = await app.countTokens();
        let stop = () => {};
        const run = project.spawn(['import', 'pipe', '-d', source, '--json'], '', (child) => {
          stop = () => void child.kill('SIGINT');
        });
        await expect.poll(() => app.countTokens(), options).toBe(before + 1);
        stop();
        try {
          expect(await run).toMatchObject({ code: 130, stdout: '{"imported":1,"skipped":0,"interrupted":true}\n' });
        } finally {
          closeSync(writer);
        }
      });

      it('fails if the issued token cannot be written, and prints how to revoke it', options, async () => {
        const { id, username } = await app.createUser();
        const run = await project.shell(`$PROGRAM issue ${username} -d ${source} > /dev/full`);
        const [device] = await app.tokens.list(id);
        expect(run).toMatchObject({
          code: 1,
          stderr:
            '[dotenv] injecting env\nnestjs-expiring-token: Cannot write to standard output: ENOSPC: no space left on device, ' +
            `write. The token is lost: revoke ${username} ${device!.id}\n`,
        });
      });

      it('completes its work even if nobody reads the result', options, async () => {
        const user = await app.createUser();
        await app.tokens.issue(user.id);
        const run = await project.shell(`$PROGRAM revoke ${user.id} -d ${source} | true; exit \${PIPESTATUS[0]}`);
        expect(run).toMatchObject({ code: 0, stderr: '[dotenv] injecting env\n' });
        expect(await app.tokens.list(user.id)).toEqual([]);
      });
    },
    ['sqlite'],
  );

  it.each([
    ['without a command', [], 'Usage: nestjs-expiring-token'],
    ['without a data source', ['prune'], "required option '-d, --data-source <path>' not specified"],
    ['with a duration without a unit', ['issue', 'ann', '-d', 'x', '--lifespan', '7'], 'such as 15m or 30d'],
    ['with a password as an argument', ['create-user', 'ann', 'secret', '-d', 'x'], 'too many arguments'],
    ['without a name where nobody can be asked', ['create-user', '-d', 'x'], "missing argument 'username'"],
  ])('reports a usage error %s', options, async (_, parameters, message) => {
    const run = await project.run(parameters);
    expect(run).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining(message) });
  });

  it('prints its commands and exit codes', options, async () => {
    const run = await project.run(['--help']);
    expect(run).toMatchObject({ code: 0, stderr: '' });
    for (const word of ['prune', 'list', 'revoke', 'issue', 'create-user', 'import', 'Exit codes: 0 done']) {
      expect(run.stdout, word).toContain(word);
    }
  });

  it('fails if its help cannot be written', options, async () => {
    const run = await project.shell('$PROGRAM --help > /dev/full');
    expect(run).toMatchObject({ code: 1, stderr: expect.stringContaining('Cannot write to standard output: ENOSPC') });
  });

  it('is not loaded by an application', () => {
    const lib = resolve(import.meta.dirname, '../lib');
    const files = readdirSync(lib, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
    const others = files.filter((file) => !file.startsWith('command-line/'));
    expect(others).toContain('index.ts');
    const loading = others.filter((file) =>
      /'(?:commander|papaparse|@clack\/prompts|.*\/command-line\/.*)'/.test(readFileSync(join(lib, file), 'utf8')),
    );
    expect(loading).toEqual([]);
  });
});
