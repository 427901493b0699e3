import { randomUUID } from 'node:crypto';
import { typeOrmUsers } from 'nestjs-expiring-token';
import type { ColumnOptions, DataSource } from 'typeorm';
import { afterEach, describe, expect, it } from 'vitest';
import { onEveryDatabase, warnings } from '../fixtures/app.js';
import type { DatabaseName } from '../fixtures/databases.js';
import { authenticate, bootOver, entityOf, tokensOf, USER_OF } from '../fixtures/lookups.js';
import { type Sent, Statements } from '../fixtures/statements.js';

describe('The statement of a look-up', () => {
  const KEYS: Record<string, (database: DatabaseName) => ColumnOptions> = {
    integer: () => ({ type: 'integer' }),
    bigint: () => ({ type: 'bigint' }),
    uuid: (database) => (database === 'mariadb' ? { type: 'varchar', length: 36, ...ASCII } : { type: 'uuid' }),
    text: (database) => ({ type: 'varchar', length: 100, ...(database === 'mariadb' ? UTF8 : {}) }),
  };
  const ASCII = { charset: 'ascii', collation: 'ascii_bin' };
  const UTF8 = { charset: 'utf8mb4', collation: 'utf8mb4_general_ci' };
  const MANY = 1000;

  onEveryDatabase((environment) => {
    afterEach(() => environment.closeApplications());

    /** The steps of a query plan, in which each table should be read by its primary key only. */
    async function scansOf(dataSource: DataSource, { sql, values }: Sent): Promise<string[]> {
      const runner = dataSource.createQueryRunner('master');
      const connection = await runner.connect();
      try {
        if (environment.databaseName === 'sqlite') {
          const rows: { detail: string }[] = connection.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(values);
          return rows
            .map(({ detail }) => detail.replaceAll(/\s*\(.*/g, ''))
            .filter((detail) => !detail.startsWith('LIST'));
        }
        if (environment.databaseName === 'postgres') {
          const { rows } = await connection.query({ text: `EXPLAIN ${sql}`, values });
          const lines: string[] = rows.map((row: Record<string, string>) => row['QUERY PLAN']);
          return lines.flatMap(
            (line) => /(Seq Scan|Index (?:Only )?Scan|Bitmap Heap Scan) .*?on \w+/.exec(line)?.[0] ?? [],
          );
        }
        const rows = await new Promise<Record<string, unknown>[]>((resolve, reject) => {
          connection.execute(`EXPLAIN ${sql}`, values, (error: Error | null, found: Record<string, unknown>[]) =>
            error ? reject(error) : resolve(found),
          );
        });
        return rows.map(({ table, type, key }) => `${String(table)} ${String(type)} ${String(key)}`);
      } finally {
        await runner.release();
      }
    }

    for (const [key, options] of Object.entries(KEYS)) {
      it(`finds users by their primary key: ${key}`, async () => {
        const entity = entityOf({ id: { primary: true, ...options(environment.databaseName) } });
        const { app, dataSource } = await bootOver(environment, typeOrmUsers(entity, USER_OF), [entity]);
        const isNumber = key === 'integer' || key === 'bigint';
        const ids = Array.from({ length: MANY }, (_, at) => (isNumber ? at + 1 : randomUUID()));
        for (let at = 0; at < MANY; at += 500) {
          await dataSource.getRepository(entity).insert(ids.slice(at, at + 500).map((id) => ({ id, name: 'x' })));
        }
        const tokens = await tokensOf(app, dataSource, ids);
        const { tableName } = dataSource.getMetadata(entity);
        // PostgreSQL would scan a table of few tokens.
        if (environment.databaseName === 'postgres') {
          await dataSource.query(
            `INSERT INTO auth_token (id, user_id, device_id, purpose, digest, created)
            SELECT gen_random_uuid(), 'nobody', gen_random_uuid(), 'access', '', 0 FROM generate_series(1, 10000)`,
          );
        }
        await dataSource.query(
          environment.databaseName === 'mariadb' ? `ANALYZE TABLE ${tableName}, auth_token` : 'ANALYZE',
        );
        const statements = await Statements.of(dataSource);
        for (const many of [1, 5, 100]) {
          const found = await authenticate(app, tokens.slice(0, many));
          expect(found, `${many} tokens`).toHaveLength(many);
          const [sent] = statements.take().filter(({ sql }) => / JOIN /.test(sql));
          const scans = await scansOf(dataSource, sent!);
          const expected = {
            sqlite: [
              'SEARCH t USING PRIMARY KEY',
              expect.stringMatching(/^SEARCH u USING (?:INTEGER PRIMARY KEY|INDEX sqlite_autoindex_\w+)/),
            ],
            postgres: [
              expect.stringMatching(/^(?:Index Scan using "?PK_\w+"?|Bitmap Heap Scan) on auth_token$/),
              expect.stringMatching(/^Index Scan using "?PK_\w+"? on looked_up_\d+$/),
            ],
            mariadb: [
              expect.stringMatching(/^t (?:const|range) PRIMARY$/),
              expect.stringMatching(/^u (?:const|eq_ref) PRIMARY$/),
            ],
          }[environment.databaseName];
          expect(scans, `${many} tokens`).toEqual(expected);
        }
        statements.close();
      });
    }

    it('leaves users out if the type or collation of their ids differs from the entity, and still authenticates them', async () => {
      const changes: Record<string, Partial<Record<DatabaseName, string[]>>> = {
        integer: {
          postgres: ['ALTER TABLE {} ALTER COLUMN id TYPE varchar(20)'],
          mariadb: ['ALTER TABLE {} MODIFY id varchar(20)'],
        },
        uuid: {
          postgres: ['ALTER TABLE {} ALTER COLUMN id TYPE varchar(36)'],
          mariadb: ['ALTER TABLE {} MODIFY id varchar(36) CHARACTER SET latin1'],
        },
        text: {
          postgres: [
            'ALTER TABLE {} ALTER COLUMN id TYPE varchar(100) COLLATE "C"',
            'ALTER TABLE auth_token ALTER COLUMN user_id TYPE varchar(255) COLLATE "POSIX"',
          ],
          mariadb: [
            'ALTER TABLE {} MODIFY id varchar(100) CHARACTER SET latin1',
            'ALTER TABLE auth_token MODIFY user_id varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci',
          ],
        },
      };
      if (environment.databaseName === 'sqlite') return;
      for (const [key, statements] of Object.entries(changes)) {
        const entity = entityOf({ id: { primary: true, ...KEYS[key]!(environment.databaseName) } });
        const { app, dataSource } = await bootOver(environment, typeOrmUsers(entity, USER_OF), [entity]);
        const ids = key === 'integer' ? [1, 2, 3] : [randomUUID(), randomUUID(), randomUUID()];
        await dataSource.getRepository(entity).insert(ids.map((id) => ({ id, name: 'x' })));
        const tokens = await tokensOf(app, dataSource, ids);
        // The statement is prepared before the change, and again after it.
        expect(await authenticate(app, tokens), key).toMatchObject(ids.map((id) => ({ id })));
        const lines = warnings.length;
        for (const sql of statements[environment.databaseName]!) {
          await dataSource.query(sql.replace('{}', dataSource.getMetadata(entity).tableName));
        }
        for (let turn = 0; turn < 2; turn++) {
          const found = (await authenticate(app, tokens)) as { id: unknown }[];
          expect(
            found.map(({ id }) => String(id)),
            `${key}, turn ${turn}`,
          ).toEqual(ids.map(String));
        }
        if (environment.databaseName !== 'postgres') continue;
        const logged = warnings.slice(lines).filter((line) => line.includes('Users are looked up separately'));
        expect(logged, key).toHaveLength(1);
      }
    });
  });
});
