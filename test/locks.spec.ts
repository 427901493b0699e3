import { Token } from 'nestjs-expiring-token';
import { DataSource, Entity } from 'typeorm';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Database, TransactionScript } from '../lib/database/database.js';
import { lockTableName } from '../lib/database/lock-table.js';
import { DATABASE } from '../lib/expiring-token.constants.js';
import { onEveryDatabase, type TestApp, type TestEnvironment } from './fixtures/app.js';
import { holdLock } from './fixtures/hold-lock.js';

const SERVERS = ['postgres', 'mariadb'] as const;

@Entity({ name: 'Table of Tokens' })
class QuotedToken extends Token {}

@Entity({ name: `${'long_'.repeat(11)}token` })
class LongToken extends Token {}

const databaseOf = ({ nest }: TestApp) => nest.get<Database>(DATABASE);

const hasTable = async ({ dataSource }: TestApp, name: string) => {
  const runner = dataSource.createQueryRunner();
  return runner.hasTable(name).finally(() => runner.release());
};

/** Sends each statement on its own, as on MySQL, which cannot run several as one. */
function asOnMysql(app: TestApp): void {
  Object.assign(databaseOf(app), { hasCompoundStatements: false });
}

describe('Transactions with the same lock, in two data sources,', () => {
  onEveryDatabase((environment) => {
    const ways: [string, (app: TestApp) => void][] = [
      ['', () => undefined],
      ...(environment.databaseName === 'mariadb'
        ? [[', statement by statement', asOnMysql] as [string, (app: TestApp) => void]]
        : []),
    ];

    it.each(ways)('run one after the other%s', async (_way, prepare) => {
      const options = { options: { timeout: '60s' } } as const;
      const apps = [await environment.boot(options), await environment.boot(options)] as const;
      apps.forEach(prepare);
      await apps[0].dataSource.query('CREATE TABLE tally (counted int NOT NULL)');
      await apps[0].dataSource.query('INSERT INTO tally VALUES (0)');
      /** Reads a number, and then writes the next one: two of them that overlap count once. */
      const count = function* (): TransactionScript<void> {
        const { rows } = yield { sql: 'SELECT counted FROM tally', values: [] };
        yield { sql: 'UPDATE tally SET counted = ?', values: [Number(rows[0]!.counted) + 1] };
      };
      const { signal } = new AbortController();
      const counting = Array.from({ length: 60 }, (_, turn) =>
        databaseOf(apps[turn % 2]!).transaction('a lock', count, signal),
      );
      await Promise.all(counting);
      expect(await apps[0].dataSource.query('SELECT counted FROM tally')).toEqual([{ counted: 60 }]);
      await apps[0].dataSource.query('DROP TABLE tally');
      await environment.closeApplications();
    });
  });
});

describe('While another process holds the lock of a user', () => {
  onEveryDatabase(
    (environment) => {
      const ways: [string, (app: TestApp) => void][] = [
        ['', () => undefined],
        ...(environment.databaseName === 'mariadb'
          ? [[', statement by statement', asOnMysql] as [string, (app: TestApp) => void]]
          : []),
      ];

      it.each(ways)(
        'changes of the user are 503 after timeout, and nothing waits in the server any longer%s',
        async (_, prepare) => {
          const [one, patient] = [
            await environment.boot({ options: { timeout: '300ms' }, typeOrm: { poolSize: 1 } }),
            await environment.boot({ options: { timeout: '60s' } }),
          ];
          [one, patient].forEach(prepare);
          const lock = await holdLock(environment.databaseOptions, 'locked');
          await expect(one.tokens.issue('locked')).rejects.toMatchObject({ code: 'unavailable' });
          await vi.waitUntil(async () => (await lock.countWaiting()) === 0, { timeout: 10_000 });
          // Longer than the server waits at a time.
          const issued = patient.tokens.issue('locked');
          await expect(one.tokens.issue('locked')).rejects.toMatchObject({ code: 'unavailable' });
          expect((await patient.tokens.issue('another user')).token.userId).toBe('another user');
          await vi.waitUntil(async () => (await lock.countWaiting()) === 1, { timeout: 10_000 });
          await lock.release();
          expect((await issued).token.userId).toBe('locked');
          await environment.closeApplications();
        },
      );
    },
    [...SERVERS],
  );
});

describe('A connection of the pool', () => {
  onEveryDatabase(
    (environment) => {
      it.each([true, false])('has its settings after a transaction (compound statements: %s)', async (isCompound) => {
        const app = await environment.boot({ typeOrm: { poolSize: 1 } });
        if (!isCompound) asOnMysql(app);
        const settings = () =>
          app.dataSource.query('SELECT @@autocommit, @@innodb_lock_wait_timeout, @@tx_isolation, @@in_transaction');
        const before = await settings();
        await app.tokens.issue('7');
        expect(await settings()).toEqual(before);
        await app.dataSource.query('DROP TABLE auth_token_lock');
        await app.tokens.issue('7');
        await expect(databaseOf(app).transaction('7', failingScript, AbortSignal.timeout(10_000))).rejects.toThrow();
        expect(await settings()).toEqual(before);
        await environment.closeApplications();
      });
    },
    ['mariadb'],
  );

  function* failingScript(): TransactionScript<void> {
    yield { sql: 'SELECT * FROM no_such_table', values: [] };
  }
});

describe('The table of locks', () => {
  onEveryDatabase(
    (environment) => {
      afterEach(() => environment.closeApplications());

      it('is created at the start, and again if it is dropped', async () => {
        const app = await environment.boot();
        expect(await hasTable(app, 'auth_token_lock')).toBe(true);
        await app.dataSource.query('DROP TABLE auth_token_lock');
        expect((await app.tokens.issue('7')).token.userId).toBe('7');
        await app.dataSource.synchronize(true);
        expect((await app.login((await app.createUser()).username)).status).toBe(200);
        expect(await hasTable(app, 'auth_token_lock')).toBe(true);
      });

      it('is created once by processes that miss it at the same moment', async () => {
        const apps = [await environment.boot(), await environment.boot()] as const;
        for (let round = 0; round < 20; round++) {
          await apps[0].dataSource.query('DROP TABLE auth_token_lock');
          const issued = Array.from({ length: 8 }, (_, turn) => apps[turn % 2]!.tokens.issue(`user ${turn}`));
          expect(await Promise.all(issued), `round ${round}`).toHaveLength(8);
        }
      });

      it.each([
        ['a name that must be quoted', QuotedToken],
        ['a long name', LongToken],
      ])('is found beside a token table with %s', async (_, tokenEntity) => {
        const app = await environment.boot({ options: { tokenEntity } });
        const { plainText } = await app.tokens.issue((await app.createUser()).id);
        expect((await app.get('/me', plainText)).status).toBe(200);
        const { tableName } = app.dataSource.getMetadata(tokenEntity);
        expect(await hasTable(app, lockTableName(tableName))).toBe(true);
      });

      it('stops the start if it is missing and may not be created, and says what to do', async () => {
        await (await environment.boot()).dataSource.query('DROP TABLE auth_token_lock');
        const account = await createAccount(environment);
        const boot = () => environment.boot({ typeOrm: { url: account.url, synchronize: false } });
        await expect(boot()).rejects.toThrow(
          /table auth_token_lock cannot be created or used: .*CreateAuthTokenLock.*CREATE .*TABLE IF NOT EXISTS .*auth_token_lock.*grant SELECT, INSERT and UPDATE/,
        );
        await environment.boot();
        await expect(boot()).rejects.toThrow('table auth_token_lock cannot be created or used');
        await account.grant('auth_token_lock');
        const app = await boot();
        expect((await app.tokens.issue('7')).token.userId).toBe('7');
        await environment.closeApplications();
        await account.drop();
      });
    },
    [...SERVERS],
  );

  onEveryDatabase(
    (environment) => {
      afterEach(() => environment.closeApplications());

      it('is created in the schema of the token table', async () => {
        const first = await environment.boot();
        for (const schema of ['tenant', 'before']) await first.dataSource.query(`CREATE SCHEMA ${schema}`);
        const tenant = await environment.boot({ typeOrm: { schema: 'tenant' } });
        await tenant.tokens.issue('7');
        expect(await hasTable(tenant, 'tenant.auth_token_lock')).toBe(true);
        // Another account may have a schema of its own that comes first.
        await first.dataSource.query('DROP TABLE auth_token_lock');
        const extra = { options: '-c search_path=before,public' };
        const other = await environment.boot({ typeOrm: { synchronize: false, extra } });
        await other.tokens.issue('7');
        expect(await hasTable(first, 'public.auth_token_lock')).toBe(true);
        expect(await hasTable(first, 'before.auth_token_lock')).toBe(false);
      });
    },
    ['postgres'],
  );

  it('has a name that the databases accept, and another one for another token table', () => {
    expect(lockTableName('auth_token')).toBe('auth_token_lock');
    const names = ['ü'.repeat(40), 'x'.repeat(63), `${'x'.repeat(62)}y`].map(lockTableName);
    for (const name of names) expect(Buffer.byteLength(name)).toBeLessThanOrEqual(63);
    expect(new Set(names).size).toBe(3);
  });
});

/** An account that may change the tables of the package, but create none. */
async function createAccount({ databaseOptions, databaseName, url }: TestEnvironment) {
  const source = await new DataSource({ ...databaseOptions, entities: [], synchronize: false }).initialize();
  const name = `ext_${Math.random().toString(36).slice(2)}`;
  const account = databaseName === 'postgres' ? name : `'${name}'@'%'`;
  const grant = (table: string) => source.query(`GRANT SELECT, INSERT, UPDATE, DELETE ON ${table} TO ${account}`);
  await source.query(
    `CREATE ${databaseName === 'postgres' ? 'ROLE' : 'USER'} ${account}${databaseName === 'postgres' ? ' LOGIN' : ''}`,
  );
  for (const table of ['auth_token', 'auth_user']) await grant(table);
  const own = new URL(url);
  own.username = name;
  return {
    url: own.href,
    grant,
    async drop() {
      if (databaseName === 'postgres') await source.query(`DROP OWNED BY ${name}`);
      await source.query(`DROP ${databaseName === 'postgres' ? 'ROLE' : 'USER'} ${account}`);
      await source.destroy();
    },
  };
}
