import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { typeOrmUsers } from 'nestjs-expiring-token';
import { Column, Entity, PrimaryColumn } from 'typeorm';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { USER_STORE } from '../../lib/expiring-token.constants.js';
import { onEveryDatabase, type TestApp, warnings } from '../fixtures/app.js';
import {
  authenticate,
  bootOver,
  Crowd,
  entityOf,
  Member,
  MEMBER,
  People,
  type Person,
  tokensOf,
  USER_OF,
} from '../fixtures/lookups.js';

describe('One bad row or user in a batch of look-ups', () => {
  onEveryDatabase((environment) => {
    it('with a user id that the column cannot hold rejects no other token', async () => {
      const { app, dataSource } = await bootOver(environment, typeOrmUsers(Member, MEMBER), [Member]);
      await dataSource.getRepository(Member).insert([{ id: 1, email: 'ann' }]);
      const strange = ['abc', '1abc', ' 1', '1e0', '0x1', '01', '+1', '1.0', '\\', "' OR 1=1 --", '-', '٣', '1\n'];
      const large = ['2147483648', '-9223372036854775809', '99999999999999999999', '9'.repeat(255)];
      const ids = [...strange, ...large, '0', '-1', randomUUID(), 'null', 'undefined', 'NaN', '😀', 'x'.repeat(255)];
      const tokens = await tokensOf(app, dataSource, ['1', ...ids, '1']);
      const lines = warnings.length;
      const expected = [{ id: 1 }, ...ids.map(() => 'user_inactive'), { id: 1 }];
      for (let turn = 0; turn < 2; turn++)
        expect(await authenticate(app, tokens), `turn ${turn}`).toMatchObject(expected);
      for (const [at, token] of tokens.entries())
        expect(await authenticate(app, [token]), `token ${at}`).toMatchObject([expected[at]]);
      expect(warnings.slice(lines)).toEqual([]);
    });

    it('with a user id that is not a UUID rejects no other token, and another spelling of a UUID is not the same user', async () => {
      const entity = entityOf({ id: { primary: true, type: 'uuid' } });
      const { app, dataSource } = await bootOver(environment, typeOrmUsers(entity, USER_OF), [entity]);
      const id = '01b8e094-9b2e-7000-8000-00000000000a';
      await dataSource.getRepository(entity).insert({ id, name: 'ann' });
      const spellings = [id.toUpperCase(), `{${id}}`, id.replaceAll('-', ''), `${id}\n`, ` ${id}`, `${id}0`];
      const others = [...spellings, 'ann', '1', "' OR 1=1 --", '😀', 'x'.repeat(255), randomUUID()];
      const tokens = await tokensOf(app, dataSource, [id, ...others, id]);
      const lines = warnings.length;
      const expected = [{ id }, ...others.map(() => 'user_inactive'), { id }];
      for (let turn = 0; turn < 2; turn++)
        expect(await authenticate(app, tokens), `turn ${turn}`).toMatchObject(expected);
      expect(warnings.slice(lines)).toEqual([]);
    });

    it('that cannot be read is answered 503, and no other token is', async () => {
      const transformer = {
        to: (text: string) => text,
        from: (text: string | null) => {
          if (text === 'spoilt') throw new Error('cannot be opened');
          return text;
        },
      };
      const entity = entityOf({
        id: { primary: true, type: 'integer' },
        sealed: { type: 'varchar', nullable: true, transformer },
      });
      const { app, dataSource } = await bootOver(environment, typeOrmUsers(entity, USER_OF), [entity]);
      const sealed = ['fine', 'spoilt', 'fine', 'fine'];
      await dataSource.getRepository(entity).insert(sealed.map((text, at) => ({ id: at + 1, sealed: text })));
      const tokens = await tokensOf(app, dataSource, [1, 2, 3, 5, 4]);
      const [one, three, four] = [1, 3, 4].map((id) => ({ id, sealed: 'fine' }));
      expect(await authenticate(app, tokens)).toMatchObject([one, 'unavailable', three, 'user_inactive', four]);
    });

    it('is not found under the name "null" or "undefined" if the user does not exist', async () => {
      const exact = environment.databaseName === 'mariadb' ? { charset: 'utf8mb4', collation: 'utf8mb4_bin' } : {};
      @Entity('anybody')
      class Anybody {
        @PrimaryColumn('varchar', { length: 100, ...exact })
        id: string;

        @Column('varchar', { nullable: true })
        passwordHash: string | null;
      }
      const store = typeOrmUsers(Anybody, { id: 'id', username: 'id', password: 'passwordHash' });
      const { app, dataSource } = await bootOver(environment, store, [Anybody]);
      const tokens = await tokensOf(app, dataSource, ['null', 'undefined', '', 'ann']);
      expect(await authenticate(app, tokens)).toEqual(tokens.map(() => 'user_inactive'));
      await dataSource.getRepository(Anybody).insert([{ id: 'null' }, { id: 'ann' }]);
      const found = await authenticate(app, tokens);
      expect(found).toMatchObject([{ id: 'null' }, 'user_inactive', 'user_inactive', { id: 'ann' }]);
    });

    for (const Store of [People, Crowd]) {
      describe(`of a user store ${Store === Crowd ? 'with' : 'without'} findByIds`, () => {
        let app: TestApp;
        let store: People;
        let tokens: string[];
        const ids = ['ann', 'bob', 'eve', 'cat', 'dan'];
        const EVE = 2;
        beforeAll(async () => {
          const started = await bootOver(environment, Store, [], { options: { timeout: '800ms' } });
          ({ app } = started);
          tokens = await tokensOf(app, started.dataSource, ids);
        });
        beforeEach(() => {
          store = app.nest.get(USER_STORE);
          store.reset();
          for (const id of ids) store.people.set(id, { id, active: true });
        });

        const find = (id: string) => store.people.get(id) ?? null;
        const everybody = ids.map((id) => ({ id, active: true }));
        /** The result in which all tokens are accepted except Eve's. */
        const allBut = (code: string) => everybody.with(EVE, code as unknown as Person);

        it('for which the store throws is answered 503 alone, and looked up again in the next turn', async () => {
          const throwsFor = (id: string) => {
            if (id === 'eve') throw new Error('no entry');
            return find(id);
          };
          store.one = throwsFor;
          if (store instanceof Crowd) store.many = (requestedIds) => requestedIds.map(throwsFor);
          for (let turn = 0; turn < 2; turn++) {
            expect(await authenticate(app, [...tokens, tokens[EVE]!]), `turn ${turn}`).toEqual([
              ...allBut('unavailable'),
              'unavailable',
            ]);
          }
          store.reset();
          expect(await authenticate(app, tokens)).toEqual(everybody);
        });

        it('for which the store rejects later is answered 503 alone', async () => {
          const rejectsFor = async (id: string) => {
            await nextTurn();
            if (id === 'eve') throw new Error('no entry');
            return find(id);
          };
          store.one = rejectsFor;
          if (store instanceof Crowd) store.many = (requestedIds) => Promise.all(requestedIds.map(rejectsFor));
          expect(await authenticate(app, tokens)).toEqual(allBut('unavailable'));
        });

        it('for which the store never answers is answered 503 in time, and the others immediately', async () => {
          store.one = (id) => (id === 'eve' ? new Promise(() => undefined) : find(id));
          if (store instanceof Crowd) {
            store.many = () => {
              throw new Error('not all of them');
            };
          }
          const started = performance.now();
          let answered = false;
          const eve = authenticate(app, [tokens[EVE]!]).finally(() => (answered = true));
          const others = ids.filter((id) => id !== 'eve');
          expect(await authenticate(app, tokens.toSpliced(EVE, 1))).toEqual(others.map((id) => ({ id, active: true })));
          expect(answered).toBe(false);
          expect(await eve).toEqual(['unavailable']);
          expect(performance.now() - started).toBeGreaterThan(700);
          expect(performance.now() - started).toBeLessThan(3000);
        });

        it('whose isActive throws is answered 503 alone', async () => {
          store.people.set('eve', {
            id: 'eve',
            get active(): boolean {
              throw new Error('no such attribute');
            },
          });
          expect(await authenticate(app, tokens)).toEqual(allBut('unavailable'));
        });

        it('that is not found, or that the store returns synchronously, is handled as usual', async () => {
          store.people.delete('eve');
          expect(await authenticate(app, tokens)).toEqual(allBut('user_inactive'));
          const own = Object.keys(store);
          store.findById = ((id: string) => find(id)) as unknown as People['findById'];
          if (store instanceof Crowd) {
            store.findByIds = ((requestedIds: string[]) =>
              requestedIds.flatMap((id) => find(id) ?? [])) as unknown as Crowd['findByIds'];
          }
          expect(await authenticate(app, tokens)).toEqual(allBut('user_inactive'));
          expect(await authenticate(app, [tokens[0]!])).toEqual([everybody[0]]);
          expect(await authenticate(app, [tokens[EVE]!])).toEqual(['user_inactive']);
          for (const method of Object.keys(store)) if (!own.includes(method)) Reflect.deleteProperty(store, method);
        });

        if (Store !== Crowd) {
          it('is looked up in the asynchronous context of its own request', async () => {
            const tenants = new AsyncLocalStorage<string>();
            const seen: string[] = [];
            store.one = async (id) => {
              const before = tenants.getStore();
              await nextTurn();
              seen.push(`${id}: ${before}, ${tenants.getStore()}`);
              return find(id);
            };
            const requestedIds = Array.from({ length: 40 }, (_, at) => at % ids.length);
            const answers = await Promise.all(
              requestedIds.map((at, request) =>
                tenants.run(`${ids[at]} of ${request}`, () => app.tokens.authenticate(tokens[at]!)),
              ),
            );
            expect(answers).toHaveLength(requestedIds.length);
            const own = requestedIds.map(
              (at, request) => `${ids[at]}: ${ids[at]} of ${request}, ${ids[at]} of ${request}`,
            );
            expect(seen.toSorted()).toEqual(own.toSorted());
          });
          return;
        }

        it('is looked up with all others of the turn in one call', async () => {
          expect(await authenticate(app, [...tokens, ...tokens])).toEqual([...everybody, ...everybody]);
          expect(store.requested).toEqual([ids]);
          store.requested = [];
          for (const some of [ids.slice(0, 2), ids]) {
            await authenticate(app, tokens.slice(0, some.length));
            expect(store.requested.pop(), JSON.stringify(some)).toEqual(some);
          }
          expect(store.requested).toEqual([]);
        });

        it('is not accepted because findByIds returned something invalid, which rejects no other token either', async () => {
          const crowd = store as Crowd;
          const all = (requestedIds: readonly string[]) => requestedIds.map((id) => find(id)!);
          const stranger = { id: 'mallory', active: true };
          const fine: Crowd['many'][] = [
            (requestedIds) => all(requestedIds).toReversed(),
            (requestedIds) => [...all(requestedIds), ...all(requestedIds)],
            (requestedIds) => [stranger, ...all(requestedIds)],
            (requestedIds) => Promise.resolve(all(requestedIds)),
            () => null,
            () => undefined,
            () => 7,
            () => 'ann',
            () => ({ length: 5 }),
            (requestedIds) => Object.fromEntries(all(requestedIds).map((user) => [user.id, user])),
            (requestedIds) => [null, ...all(requestedIds)],
            (requestedIds) => [...all(requestedIds), undefined],
            () => {
              throw new Error('no');
            },
            () => Promise.reject(new Error('no')),
            // The case needs a rejection without a reason.
            // oxlint-disable-next-line prefer-promise-reject-errors
            () => Promise.reject(undefined),
          ];
          for (const [index, many] of fine.entries()) {
            crowd.many = many;
            expect(await authenticate(app, tokens), `findByIds ${index}`).toEqual(everybody);
          }
          crowd.many = (requestedIds) => all(requestedIds.filter((id) => id !== 'eve'));
          expect(await authenticate(app, tokens)).toEqual(allBut('user_inactive'));
          for (const nobody of [[], [stranger], [7, 'ann', true]]) {
            crowd.many = () => nobody;
            expect(await authenticate(app, tokens), JSON.stringify(nobody)).toEqual(ids.map(() => 'user_inactive'));
          }
        });
      });
    }

    it('is looked up again in the next turn after a failure of the whole batch', async () => {
      const { app, dataSource } = await bootOver(environment, typeOrmUsers(Member, MEMBER), [Member]);
      await dataSource.getRepository(Member).save({ id: 1, email: 'ann' });
      const tokens = await tokensOf(app, dataSource, ['1', '1']);
      await dataSource.query('ALTER TABLE member RENAME TO away');
      const failing = authenticate(app, tokens);
      expect(await failing).toEqual(['unavailable', 'unavailable']);
      await dataSource.query('ALTER TABLE away RENAME TO member');
      expect(await authenticate(app, tokens)).toMatchObject([{ id: 1 }, { id: 1 }]);
    });
  });
});
