import { setImmediate as nextTurn } from 'node:timers/promises';
import { User } from 'nestjs-expiring-token';
import type { DataSource } from 'typeorm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TokenPruner } from '../../lib/tokens/token.pruner.js';
import { onEveryDatabase, type TestApp } from '../fixtures/app.js';
import { stateOf, STORES } from '../fixtures/lookup-populations.js';
import { authenticate, Member, tokensOf } from '../fixtures/lookups.js';
import { Statements } from '../fixtures/statements.js';

describe('The look-ups of one turn of the event loop', () => {
  onEveryDatabase((environment) => {
    for (const name of ['the built-in store', 'typeOrmUsers']) {
      describe(`with ${name}`, () => {
        let app: TestApp;
        let dataSource: DataSource;
        let statements: Statements;
        let tokens: string[];
        beforeAll(async () => {
          const started = await STORES[name]!(environment);
          ({ app, dataSource } = started);
          await app.nest.get(TokenPruner).beforeApplicationShutdown();
          statements = await Statements.of(dataSource);
          const active = started.ids.filter((_, user) => stateOf(user) === 'active');
          tokens = await tokensOf(app, dataSource, [...active, ...active]);
          statements.take();
        });
        afterAll(() => statements.close());

        it('are one statement, and those of the next turn are another', async () => {
          for (const many of [1, 2, 50, 256]) {
            const found = await authenticate(app, tokens.slice(0, many));
            expect(
              found.filter((user) => typeof user === 'object'),
              `${many} tokens`,
            ).toHaveLength(many);
            expect(statements.take(), `${many} tokens`).toHaveLength(1);
          }
          await authenticate(app, tokens.slice(0, 257));
          expect(statements.take()).toHaveLength(2);
          const first = authenticate(app, tokens.slice(0, 5));
          await nextTurn();
          const second = authenticate(app, tokens.slice(0, 5));
          await Promise.all([first, second]);
          expect(statements.take()).toHaveLength(2);
        });

        it('are one statement also if they start a few microtasks apart', async () => {
          const found = await Promise.all(
            tokens.slice(0, 15).map(async (token, moments) => {
              for (let passed = 0; passed < moments; passed++) await Promise.resolve();
              if (moments % 3 === 0) await new Promise<void>((resolve) => process.nextTick(resolve));
              return app.tokens.authenticate(token);
            }),
          );
          expect(found).toHaveLength(15);
          expect(statements.take()).toHaveLength(1);
        });

        it('are several statements if many start one by one, so that the first ones do not wait', async () => {
          // All start in one turn, each in its own callback, as requests do.
          const found = await Promise.all(
            tokens.slice(0, 48).map(async (token) => {
              await nextTurn();
              return app.tokens.authenticate(token);
            }),
          );
          expect(found).toHaveLength(48);
          // PostgreSQL gets the ids as one text.
          const idsIn = (value: unknown) => (typeof value === 'string' ? value.split(',') : [value]);
          const batchSizes = statements.take().map(({ values }) => values.flat().flatMap(idsIn).length);
          // SQLite has returned before the next look-up starts.
          expect(batchSizes).toEqual(environment.databaseName === 'sqlite' ? [16, 16, 16] : [16, 32]);
        });

        it('look up a token once if several requests present it', async () => {
          await authenticate(
            app,
            Array.from({ length: 40 }, () => tokens[0]!),
          );
          const sent = statements.take();
          expect(sent).toHaveLength(1);
          expect(sent[0]!.values).toHaveLength(1);
        });

        it('leave nothing behind: a token revoked or a user deactivated between two turns is rejected in the second', async () => {
          const { user, token } = await app.tokens.authenticate(tokens[0]!);
          const { user: other } = await app.tokens.authenticate(tokens[1]!);
          expect(await app.tokens.revoke(token.userId, token.deviceId)).toBe(true);
          const entity = (user as object).constructor as typeof User;
          await dataSource.getRepository(entity).update({ id: (other as User).id }, { active: false });
          expect(await authenticate(app, tokens.slice(0, 3))).toMatchObject([
            'token_invalid',
            'user_inactive',
            { active: true },
          ]);
        });

        it('do not select the password hash', async () => {
          const secret = dataSource
            .getMetadata(name === 'typeOrmUsers' ? Member : User)
            .columns.find(({ isSelect }) => !isSelect)!;
          statements.take();
          const [user] = await authenticate(app, [tokens[5]!]);
          const [sent] = statements.take();
          expect(sent!.sql).not.toMatch(/\*|pass|hash/i);
          expect(secret.databaseName).toMatch(/pass/);
          expect(user).not.toHaveProperty(secret.propertyName);
        });
      });
    }
  });
});
