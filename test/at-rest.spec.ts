import { createHash } from 'node:crypto';
import { inspect } from 'node:util';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Token, User } from 'nestjs-expiring-token';
import {
  Column,
  DataSource,
  DefaultNamingStrategy,
  Entity,
  ManyToOne,
  type NamingStrategyInterface,
  PrimaryGeneratedColumn,
} from 'typeorm';
import { beforeAll, describe, expect, it } from 'vitest';
import { uuidV7 } from '../lib/database/uuid-v7.js';
import { TokenQueries } from '../lib/tokens/token.queries.js';
import { UserTransactions } from '../lib/tokens/transactions/user.transactions.js';
import { warnings, onEveryDatabase, PASSWORD, type TestApp } from './fixtures/app.js';

/** The bytes of a column: drivers return blobs as different types. */
const hexOf = (value: unknown) => Buffer.from(value as ArrayBuffer).toString('hex');

describe('The stored data', () => {
  onEveryDatabase((environment) => {
    let app: TestApp;
    beforeAll(async () => {
      app = await environment.boot({ options: { secret: 'a secret of thirty-two bytes, or more' } });
    });

    it('holds SHA-256 digests of whole tokens and password hashes, and nothing to log in with', async () => {
      const user = await app.createUser();
      const tokens = [
        (await app.login(user.username)).json.token,
        (await app.post('/auth/obtain-token', { username: user.username, password: PASSWORD })).json.token,
      ];
      const rows = await app.dump();
      const digests = rows.map((row) => (row.digest ? hexOf(row.digest) : ''));
      const everything = rows.map((row) => JSON.stringify(row) + hexOf(row.digest ?? [])).join('\n');
      for (const [index, token] of tokens.entries()) {
        expect(digests, `token ${index}`).toContain(createHash('sha256').update(token).digest('hex'));
        expect(everything, `token ${index}`).not.toContain(token);
        expect(everything, `token ${index}`).not.toContain(token.slice(-48));
      }
      expect(everything).not.toContain(PASSWORD);
      for (const digest of digests.filter(Boolean)) {
        for (const [index, form] of [
          digest,
          `ext_${digest}`,
          Buffer.from(digest, 'hex').toString('base64url'),
        ].entries()) {
          expect((await app.get('/me', form)).json.code, `form ${index}`).toBe('token_invalid');
        }
      }
    });

    it('ids are UUIDs as each database stores them best, and digests have 32 bytes', async () => {
      await app.token();
      const sizes = {
        sqlite: 'SELECT length(id) AS id, length(digest) AS digest FROM auth_token LIMIT 1',
        postgres: 'SELECT pg_column_size(id) AS id, octet_length(digest) AS digest FROM auth_token LIMIT 1',
        mariadb: 'SELECT LENGTH(id) AS id, LENGTH(digest) AS digest FROM auth_token LIMIT 1',
      };
      const [size] = await app.dataSource.query(sizes[environment.databaseName]);
      expect({ id: Number(size.id), digest: Number(size.digest) }).toEqual({
        id: environment.databaseName === 'sqlite' ? 36 : 16,
        digest: 32,
      });
    });

    it.runIf(environment.databaseName === 'sqlite')(
      'SQL finds a row by the id and the device that the API shows',
      async () => {
        const { token } = await app.tokens.issue((await app.createUser()).id);
        const sql = 'SELECT id, device_id FROM auth_token WHERE id = ?';
        expect(await app.dataSource.query(sql, [token.id])).toEqual([{ id: token.id, device_id: token.deviceId }]);
      },
    );

    it('has the tables that TypeORM would create: a second synchronization changes nothing', async () => {
      // Entities of other specs stay registered for all applications of the process, so this data source lists its own.
      const own = await new DataSource({ ...environment.databaseOptions, entities: [Token, User] }).initialize();
      const { upQueries } = await own.driver.createSchemaBuilder().log();
      await own.destroy();
      expect(upQueries.map(({ query }) => query)).toEqual([]);
    });

    it('can be read through a repository, in the order of the ids', async () => {
      const user = await app.createUser();
      const issued = [];
      for (let index = 0; index < 5; index++) {
        issued.push((await app.tokens.issue(user.id, { name: `n${index}`, lifespan: index ? null : 7 })).token);
        app.clock.advance(1);
      }
      const tokens = await app.dataSource
        .getRepository(Token)
        .find({ where: { userId: user.id }, order: { id: 'ASC' } });
      expect(tokens).toEqual(issued);
      expect(await app.dataSource.getRepository(Token).findOneBy({ id: issued[2]!.id })).toEqual(issued[2]);
      expect(await app.dataSource.getRepository(User).findOneBy({ username: user.username })).toEqual(user);
    });

    it('can be referenced from an entity of the application', async () => {
      @Entity('diary_page')
      class DiaryPage {
        @PrimaryGeneratedColumn()
        id: number;

        @ManyToOne(() => User, { nullable: false, onDelete: 'CASCADE' })
        owner: User;
      }
      const diary = await environment.boot({ imports: [TypeOrmModule.forFeature([DiaryPage])] });
      const owner = await diary.createUser();
      const pages = diary.dataSource.getRepository(DiaryPage);
      await pages.insert({ owner });
      const [page] = await pages.find({ where: { owner: { id: owner.id } }, relations: { owner: true } });
      expect(page!.owner).toEqual(owner);
      await expect(pages.insert({ owner: { id: '01b8e094-9b2e-7000-8000-000000000000' } })).rejects.toThrow();
    });

    it('keeps its rows when a new token gets an id that is taken: another id is generated', async () => {
      const queries = app.nest.get(TokenQueries);
      const user = await app.createUser();
      const { token, plainText } = await app.tokens.issue(user.id);
      const ids = [token.id, token.id, uuidV7(app.clock.now)];
      const insert = () =>
        app.nest.get(UserTransactions).run(user.id, function* () {
          yield queries.insert(Object.assign({}, token, { id: ids.shift()!, digest: Buffer.alloc(32) }));
        });
      await insert();
      expect(ids).toEqual([]);
      expect((await app.get('/me', plainText)).status).toBe(200);
      expect(await app.dataSource.getRepository(Token).countBy({ userId: user.id })).toBe(2);
      ids.push(token.id, token.id, token.id);
      await expect(insert()).rejects.toThrow();
    });

    it("keeps the columns of an application's subclass, under any naming strategy", async () => {
      @Entity('session_token')
      class SessionToken extends Token {
        @Column('varchar', { nullable: true })
        tenantName: string | null;

        @Column({ default: 'web' })
        channel: string;
      }
      class Shouting extends DefaultNamingStrategy implements NamingStrategyInterface {
        override columnName(property: string, custom: string) {
          return (custom || property).toUpperCase();
        }
      }
      const custom = await environment.boot({
        options: { tokenEntity: SessionToken },
        typeOrm: { namingStrategy: new Shouting(), entityPrefix: 'app_' },
      });
      const user = await custom.createUser();
      const { plainText, token } = await custom.tokens.issue(user.id);
      await custom.dataSource.getRepository(SessionToken).update({ id: token.id }, { tenantName: 'acme' });
      const { json } = await custom.get('/me', plainText);
      expect(json.token).toMatchObject({ id: token.id, tenantName: 'acme', channel: 'web' });
      expect((await custom.get('/auth/devices', plainText)).json).toHaveLength(1);
      expect((await custom.post('/auth/logout', undefined, plainText)).status).toBe(204);
    });
  });
});

describe('The TypeORM data source type mysql', () => {
  onEveryDatabase(
    (environment) => {
      it('reads rows that were written with the type mariadb, and the reverse', async () => {
        const mariadb = await environment.boot();
        const mysql = await environment.boot({ typeOrm: { type: 'mysql', synchronize: false }, clock: mariadb.clock });
        for (const [direction, writer, reader] of [
          ['mariadb to mysql', mariadb, mysql],
          ['mysql to mariadb', mysql, mariadb],
        ] as const) {
          const { id, username } = await writer.createUser();
          const { json } = await writer.login(username);
          expect((await reader.get('/me', json.token)).json.user, direction).toEqual({ id, username, active: true });
          expect((await reader.get('/auth/devices', json.token)).json, direction).toHaveLength(1);
          await reader.post('/auth/obtain-token', { username, password: PASSWORD });
          expect((await reader.post('/auth/logout-all', undefined, json.token)).json, direction).toEqual({
            revoked: 2,
          });
          expect((await writer.get('/me', json.token)).status, direction).toBe(401);
        }
      });
    },
    ['mariadb'],
  );
});

describe('Logs', () => {
  onEveryDatabase((environment) => {
    it('hold no token, digest or password, even if TypeORM logs every query and statements fail', async () => {
      const lines: string[] = [];
      const record = (...parts: unknown[]) => void lines.push(inspect(parts.slice(0, 2), { depth: 4 }));
      const typeOrmLogger = {
        logQuery: record,
        logQueryError: record,
        logQuerySlow: record,
        logSchemaBuild: record,
        logMigration: record,
        log: record,
      };
      const app = await environment.boot({ typeOrm: { logging: true, logger: typeOrmLogger } });
      const { username } = await app.createUser();
      const { token } = (await app.login(username)).json;
      await app.post('/auth/obtain-token', { username, password: PASSWORD });
      await app.get('/me', token);
      await app.dataSource.query('ALTER TABLE auth_token RENAME TO away');
      expect((await app.get('/me', token)).status).toBe(503);
      expect((await app.login(username)).status).toBe(503);
      await app.dataSource.query('ALTER TABLE away RENAME TO auth_token');
      const digest = createHash('sha256').update(token).digest();
      const output = [...lines, ...warnings].join('\n');
      expect(lines.length).toBeGreaterThan(0);
      expect(warnings.some((line) => line.includes('Answering 503'))).toBe(true);
      for (const [name, secret] of Object.entries({
        token,
        password: PASSWORD,
        'hash of the password': '$argon2id$',
        'digest in hexadecimal': digest.toString('hex'),
        'digest in base64': digest.toString('base64'),
        'digest in decimal': [...digest].join(','),
      })) {
        expect(output, name).not.toContain(secret);
      }
    });
  });
});
