import { typeOrmUsers } from 'nestjs-expiring-token';
import { afterEach, describe, expect, it } from 'vitest';
import { onEveryDatabase, warnings } from '../fixtures/app.js';
import { authenticate, bootOver, Member, MEMBER, tokensOf } from '../fixtures/lookups.js';

describe('A look-up on PostgreSQL', () => {
  onEveryDatabase(
    (environment) => {
      afterEach(() => environment.closeApplications());

      for (const analyzed of [false, true]) {
        it(`uses a generic plan after five executions, in tables ${analyzed ? 'that were analyzed' : 'that grew a moment ago'}`, async () => {
          const { app, dataSource } = await bootOver(environment, typeOrmUsers(Member, MEMBER), [Member], {
            typeOrm: { extra: { max: 1 } },
          });
          await dataSource.getRepository(Member).deleteAll();
          const members = Array.from({ length: 1000 }, (_, at) => ({ id: at + 1, email: `${at}@example.org` }));
          await dataSource.getRepository(Member).insert(members);
          const tokens = await tokensOf(
            app,
            dataSource,
            members.flatMap(({ id }) => [id, id, id]),
          );
          if (analyzed) await dataSource.query('ANALYZE');
          const sizes = [1, 30, 2, 1, 3, 7, 60, 12];
          for (let turn = 0; turn < 320; turn++) {
            const from = (turn * 31) % 2900;
            const found = await authenticate(app, tokens.slice(from, from + sizes[turn % sizes.length]!));
            expect(
              found.every((user) => typeof user === 'object'),
              `turn ${turn}`,
            ).toBe(true);
          }
          const plans: { kept: number; made: number }[] = await dataSource.query(
            `SELECT generic_plans::int AS kept, custom_plans::int AS made FROM pg_prepared_statements
            WHERE name LIKE 'expiring-token:%' AND statement LIKE '%LEFT JOIN%'`,
          );
          // There is one statement for any number of tokens. PostgreSQL plans it five times before it compares plans.
          expect(plans).toEqual([{ made: 5, kept: 315 }]);
        });
      }

      for (const command of ['DEALLOCATE ALL', 'DISCARD ALL']) {
        it(`still works after ${command}, without an error in any request`, async () => {
          const max = 4;
          const app = await environment.boot({ typeOrm: { extra: { max } } });
          const tokens = await Promise.all(Array.from({ length: 20 }, () => app.token()));
          const everywhere = async (sql: string) => {
            const runners = Array.from({ length: max }, () => app.dataSource.createQueryRunner());
            await Promise.all(runners.map((runner) => runner.connect()));
            await Promise.all(runners.map((runner) => runner.query(sql)));
            await Promise.all(runners.map((runner) => runner.release()));
          };
          const statuses = async () => {
            const answers = await Promise.all(tokens.map((token) => app.get('/me', token)));
            return new Set(answers.map(({ status }) => status));
          };
          const lines = warnings.length;
          for (let round = 0; round < 3; round++) {
            expect(await statuses(), `round ${round}`).toEqual(new Set([200]));
            await app.usesWritten();
            await everywhere(command);
          }
          expect(await statuses()).toEqual(new Set([200]));
          const [warning, ...others] = warnings.slice(lines);
          expect(warning).toMatch(/PostgreSQL keeps no prepared statements/);
          expect(others).toEqual([]);
        });
      }
    },
    ['postgres'],
  );
});
