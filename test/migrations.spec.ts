import { dirname, join } from 'node:path';
import { Token, typeOrmUsers, User } from 'nestjs-expiring-token';
import {
  AddTokenColumns1795910400000,
  CreateAuthToken1795564800000,
  CreateAuthTokenLock1795910400001,
  migrations,
  tokenMigrations,
} from 'nestjs-expiring-token/migrations';
import { Column, DataSource, DefaultNamingStrategy, Entity, Index } from 'typeorm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ACCOUNT, Account } from './fixtures/account.js';
import { warnings, onEveryDatabase, PASSWORD, TestEnvironment } from './fixtures/app.js';
import { compile } from './fixtures/compile.js';
import { createDatabase, isMissing, type TestDatabase } from './fixtures/databases.js';

@Entity({ name: 'auth_token', withoutRowid: true })
class TenantToken extends Token {
  @Index()
  @Column('varchar', { name: 'tenant', length: 40, nullable: true })
  tenant: string | null;
}

const ID = '019aa000-0000-7000-8000-000000000001';
const OTHER_ID = '019aa000-0000-7000-8000-000000000002';

/** Renames everything, including names that the entities set. */
class OtherNames extends DefaultNamingStrategy {
  override tableName(_entity: string, given?: string) {
    return `my_${given}`;
  }
  override columnName(property: string) {
    return `c_${property}`;
  }
  override primaryKeyName() {
    return `pk_${Math.random()}`;
  }
  override indexName(_table: unknown, columns: string[]) {
    return `ix_${columns.join('_')}`;
  }
  override uniqueConstraintName(_table: unknown, columns: string[]) {
    return `uq_${columns.join('_')}`;
  }
}

const TABLES = ['auth_token', 'auth_user', 'auth_token_lock'];

/** The statements that `migration:generate` would write. */
async function pending(dataSource: DataSource): Promise<string[]> {
  return (await dataSource.driver.createSchemaBuilder().log()).upQueries.map(({ query }) => query);
}

describe('The migrations', () => {
  for (const name of ['sqlite', 'postgres', 'mariadb'] as const) {
    describe.skipIf(isMissing(name))(`on ${name}`, () => {
      const opened: DataSource[] = [];
      let database: TestDatabase;
      beforeEach(async () => {
        database = await createDatabase(name);
      });
      afterEach(async () => {
        for (const dataSource of opened.splice(0)) await dataSource.destroy();
        await database.drop();
      });

      async function open(options: object = {}): Promise<DataSource> {
        const all = {
          ...database.options,
          logging: false,
          entities: [Token, User],
          migrations,
          ...options,
        } as TestDatabase['options'];
        const dataSource = await new DataSource(all).initialize();
        opened.push(dataSource);
        return dataSource;
      }

      const tablesOf = async (dataSource: DataSource) => {
        const runner = dataSource.createQueryRunner();
        const found: string[] = [];
        for (const table of TABLES) if (await runner.hasTable(table)) found.push(table);
        return found;
      };

      /** The tables as the database describes them. */
      async function described(dataSource: DataSource): Promise<unknown[]> {
        const statements = {
          sqlite: [`SELECT name, sql FROM sqlite_master WHERE tbl_name LIKE 'auth_%' ORDER BY name`],
          postgres: [
            `SELECT table_name, column_name, ordinal_position, column_default, is_nullable, udt_name, character_maximum_length
              FROM information_schema.columns WHERE table_name IN ('auth_token', 'auth_user') ORDER BY 1, 3`,
            `SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN ('auth_token', 'auth_user') ORDER BY 1`,
          ],
          mariadb: (await tablesOf(dataSource))
            .filter((table) => table !== 'auth_token_lock')
            .map((table) => `SHOW CREATE TABLE ${table}`),
        }[name];
        const found: unknown[] = [];
        for (const statement of statements) found.push(await dataSource.query(statement));
        return found;
      }

      /** Inserts a token as the first version of the package does. */
      async function insertFirstVersion(dataSource: DataSource, id = ID): Promise<void> {
        const uuid = name === 'mariadb' ? `UNHEX('${id.replaceAll('-', '')}')` : `'${id}'`;
        const digest = { sqlite: `x'00'`, postgres: `'\\x00'`, mariadb: `UNHEX(SHA2('', 256))` }[name];
        await dataSource.query(
          `INSERT INTO auth_token (id, user_id, device_id, purpose, digest, created)
            VALUES (${uuid}, 'ann', ${uuid}, 'access', ${digest}, 1800000000000)`,
        );
      }

      /** Where the database stores the rows of the table. A copy of the table is in another place. */
      async function storageOf(dataSource: DataSource): Promise<unknown> {
        const statements = {
          sqlite: `SELECT rootpage FROM sqlite_master WHERE name = 'auth_token'`,
          postgres: `SELECT relfilenode FROM pg_class WHERE relname = 'auth_token'`,
          mariadb: `SELECT table_id FROM information_schema.innodb_sys_tables WHERE name = CONCAT(DATABASE(), '/auth_token')`,
        };
        const found = await dataSource.query(statements[name]);
        expect(found).toHaveLength(1);
        return found;
      }

      it('create what synchronize creates, leave nothing for migration:generate, and are reverted one by one', async () => {
        const dataSource = await open();
        expect(await pending(dataSource)).not.toEqual([]);
        const run = await dataSource.runMigrations();
        expect(run.map((migration) => migration.name)).toEqual(migrations.map((migration) => migration.name));
        expect(await pending(dataSource)).toEqual([]);
        const tables = await described(dataSource);
        const created = name === 'sqlite' ? ['auth_token', 'auth_user'] : TABLES;
        expect(await tablesOf(dataSource)).toEqual(created);
        for (const left of [['auth_token', 'auth_user'], ['auth_token', 'auth_user'], ['auth_token'], []]) {
          await dataSource.undoLastMigration();
          expect(await tablesOf(dataSource)).toEqual(left);
        }
        await dataSource.synchronize();
        expect(tables).toEqual(await described(dataSource));
      });

      it('use the naming strategy, the prefix and the schema of the data source', async () => {
        const schema = name === 'postgres' ? { schema: 'auth' } : {};
        if (name === 'postgres') await (await open()).query('CREATE SCHEMA auth');
        const dataSource = await open({ ...schema, namingStrategy: new OtherNames(), entityPrefix: 'app_' });
        await dataSource.runMigrations();
        expect(await pending(dataSource)).toEqual([]);
        const { tablePath } = dataSource.getMetadata(Token);
        expect(tablePath).toMatch(name === 'postgres' ? 'auth.app_my_auth_token' : 'app_my_auth_token');
        expect(await dataSource.getRepository(Token).find()).toEqual([]);
        const lockTable = `${tablePath}_lock`;
        expect(await dataSource.createQueryRunner().hasTable(lockTable)).toBe(name !== 'sqlite');
        for (let run = 0; run < migrations.length; run++) await dataSource.undoLastMigration();
        for (const table of [tablePath, lockTable]) {
          expect(await dataSource.createQueryRunner().hasTable(table), table).toBe(false);
        }
      });

      it('are found by a glob over their files, each once', async () => {
        const directory = dirname(await compile('lib/migrations/create-auth-token.migration.ts'));
        const dataSource = await open({ migrations: [join(directory, '*.js')] });
        const run = (await dataSource.runMigrations()).map((migration) => migration.name);
        expect(run).toEqual(migrations.map((Migration) => new Migration().name));
        expect(await pending(dataSource)).toEqual([]);
      });

      it('add columns to a table with rows without a copy of the table, and remove them again', async () => {
        const before = await open({ entities: [], migrations: [CreateAuthToken1795564800000] });
        await before.runMigrations();
        const original = await described(before);
        await insertFirstVersion(before);
        const both = [CreateAuthToken1795564800000, AddTokenColumns1795910400000];
        const dataSource = await open({ entities: [Token], migrations: both });
        const storage = await storageOf(dataSource);
        const run = await dataSource.runMigrations();
        expect(run.map((migration) => migration.name)).toEqual([new AddTokenColumns1795910400000().name]);
        expect(await storageOf(dataSource)).toEqual(storage);
        expect(await pending(dataSource)).toEqual([]);
        const token = await dataSource.getRepository(Token).findOneByOrFail({ userId: 'ann' });
        expect(token).toMatchObject({ id: ID, scopes: null, authenticatedAt: null, address: null, actorId: null });
        // A process of the earlier version still runs.
        await insertFirstVersion(dataSource, OTHER_ID);
        await dataSource.undoLastMigration();
        expect(await described(dataSource)).toEqual(original);
        expect(await dataSource.query('SELECT user_id FROM auth_token')).toHaveLength(2);
      });

      it('are marked as run if synchronize created the tables', async () => {
        const dataSource = await open({ synchronize: true });
        await expect(dataSource.runMigrations()).rejects.toThrow(/exists/);
        await dataSource.runMigrations({ fake: true });
        expect(await dataSource.showMigrations()).toBe(false);
        expect(await pending(dataSource)).toEqual([]);
      });

      it('leave exactly the columns that a token entity of the application adds to a migration of the application', async () => {
        const dataSource = await open({ entities: [TenantToken], migrations: tokenMigrations });
        await dataSource.runMigrations();
        const queries = await pending(dataSource);
        expect(queries.join('\n')).toContain('tenant');
        // SQLite copies the whole table for each change.
        if (name !== 'sqlite') expect(queries.filter((query) => !query.includes('tenant'))).toEqual([]);
        for (const query of queries) await dataSource.query(query);
        expect(await pending(dataSource)).toEqual([]);
        expect(await tablesOf(dataSource)).toEqual(
          name === 'sqlite' ? ['auth_token'] : ['auth_token', 'auth_token_lock'],
        );
      });

      it('create the table of locks also if a running application has created it', async () => {
        const dataSource = await open({ synchronize: true });
        const runner = dataSource.createQueryRunner();
        const migration = new CreateAuthTokenLock1795910400001();
        await migration.up(runner);
        await migration.up(runner);
        expect(await tablesOf(dataSource)).toContain(name === 'sqlite' ? 'auth_token' : 'auth_token_lock');
        expect(await pending(dataSource)).toEqual([]);
        await runner.release();
      });
    });
  }

  onEveryDatabase((environment) => {
    it('are all that an application needs', async () => {
      const app = await environment.boot({
        options: { refresh: {}, limit: { perUser: 3, policy: 'evict' }, secret: 's'.repeat(32) },
        typeOrm: { synchronize: false, migrations, migrationsRun: true },
      });
      const { id, username } = await app.createUser();
      const { json } = await app.login(username);
      const { json: pair } = await app.post('/auth/refresh', { refreshToken: json.refreshToken });
      expect((await app.get('/me', pair.token)).json.user).toEqual({ id, username, active: true });
      const obtained = await app.post('/auth/obtain-token', { username, password: PASSWORD });
      expect((await app.get('/auth/devices', obtained.json.token)).json).toHaveLength(2);
      expect((await app.post('/auth/logout-all', {}, pair.token)).json).toEqual({ revoked: 2 });
      await expect(app.createUser(username)).rejects.toThrow('User name is taken');
      app.clock.advance(200 * 24 * 3_600_000);
      expect(await app.tokens.prune()).toBe(0);
      await environment.closeApplications();
    });
  });

  it('create no auth_user table if the users are in another table', async () => {
    const environment = new TestEnvironment('sqlite', 'express');
    await environment.open();
    const loggedBefore = warnings.length;
    const users = typeOrmUsers(Account, ACCOUNT);
    const typeOrm = { synchronize: false, entities: [Account], migrations: tokenMigrations, migrationsRun: true };
    const app = await environment.boot({ options: { users }, typeOrm });
    const runner = app.dataSource.createQueryRunner();
    expect([await runner.hasTable('auth_token'), await runner.hasTable('auth_user')]).toEqual([true, false]);
    expect((await app.tokens.issue('1')).token.userId).toBe('1');
    expect(warnings.slice(loggedBefore).filter((line) => line.includes('auth_user'))).toEqual([]);
    await environment.close();
  });

  it('reject a database type that the package does not support', async () => {
    const runner = { dataSource: { options: { type: 'mssql' } } };
    const run = new CreateAuthToken1795564800000().up(runner as never);
    await expect(run).rejects.toThrow('of type postgres, mysql, mariadb, better-sqlite3, not mssql');
  });
});
