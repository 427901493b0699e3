import { randomUUID } from 'node:crypto';
import { Token, type User } from 'nestjs-expiring-token';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Database } from '../lib/database/database.js';
import type { Statement } from '../lib/database/dialect.js';
import { DATABASE } from '../lib/expiring-token.constants.js';
import { DeviceQueries } from '../lib/tokens/device.queries.js';
import { TokenQueries } from '../lib/tokens/token.queries.js';
import { onEveryDatabase, type TestApp } from './fixtures/app.js';

afterEach(() => vi.restoreAllMocks());

const FAILING: Statement = { sql: 'DELETE FROM no_such_table', values: [] };

/** All rows of a user: a change that was done by half would be visible. */
const stateOf = async (app: TestApp, { id }: User) => [
  await app.dataSource.getRepository(Token).find({ where: { userId: id }, order: { id: 'ASC' } }),
  await app.dataSource.query(`SELECT password, active FROM auth_user WHERE id = '${id}'`),
];

describe('A change of several statements', () => {
  onEveryDatabase((environment) => {
    let app: TestApp;
    let user: User;
    let token: string;
    let refreshToken: string;
    beforeAll(async () => {
      app = await environment.boot({ options: { refresh: {} } });
    });
    beforeEach(async () => {
      user = await app.createUser();
      ({ token, refreshToken } = (await app.login(user.username)).json);
      await app.tokens.obtain(user.id);
    });

    const CHANGES: Record<
      string,
      [statement: 'insert' | 'deleteAll', sentBefore: number, change: () => Promise<unknown>]
    > = {
      changePassword: ['deleteAll', 0, () => app.users.changePassword(user.id, 'a new password')],
      delete: ['deleteAll', 0, () => app.users.delete(user.id)],
      logIn: ['insert', 1, () => app.tokens.logIn(user.id)],
      obtain: ['insert', 0, () => app.tokens.obtain(user.id)],
      refresh: ['insert', 1, () => app.tokens.refresh(refreshToken)],
    };

    it.each(Object.entries(CHANGES))(
      'is done completely or not at all: %s',
      async (_, [statement, sentBefore, change]) => {
        const before = await stateOf(app, user);
        const queries = {
          insert: app.nest.get(TokenQueries),
          deleteAll: app.nest.get(DeviceQueries),
        }[statement] as unknown as Record<typeof statement, (...parameters: unknown[]) => Statement>;
        const original = queries[statement].bind(queries);
        let sent = 0;
        const failing = vi
          .spyOn(queries, statement)
          .mockImplementation((...parameters: unknown[]) =>
            sent++ === sentBefore ? FAILING : original(...parameters),
          );
        await expect(change()).rejects.toMatchObject({ code: 'unavailable' });
        failing.mockRestore();
        expect(sent).toBe(sentBefore + 1);
        expect(await stateOf(app, user)).toEqual(before);
        expect((await app.login(user.username, 'a new password')).status).toBe(401);
        expect((await app.login(user.username)).status).toBe(200);
        expect((await app.get('/me', token)).status).toBe(200);
        expect((await app.post('/auth/refresh', { refreshToken })).status).toBe(200);
      },
    );
  });
});

describe('A new token whose id is taken', () => {
  onEveryDatabase((environment) => {
    let app: TestApp;
    let user: User;
    let refreshToken: string;
    let taken: { plainText: string; token: Token };
    beforeAll(async () => {
      app = await environment.boot({ options: { refresh: {}, lifespan: '30d' } });
    });
    beforeEach(async () => {
      taken = await app.tokens.issue((await app.createUser()).id);
      user = await app.createUser();
      await app.tokens.obtain(user.id);
      refreshToken = (await app.tokens.logIn(user.id)).refresh!.plainText;
    });

    /** Inserts use a taken id the given number of times. The insert before each of them does not. */
    function collide(times: number): void {
      const store = app.nest.get(TokenQueries);
      const insert = store.insert.bind(store);
      let left = times;
      vi.spyOn(store, 'insert').mockImplementation((row) =>
        // A refresh token is inserted first, so the access token beside it is the second insert.
        insert(row.purpose !== 'refresh' && left-- > 0 ? { ...row, id: taken.token.id } : row),
      );
    }

    const WAYS: Record<string, [added: number, way: () => Promise<string>]> = {
      issue: [1, async () => (await app.tokens.issue(user.id)).plainText],
      logIn: [2, async () => (await app.tokens.logIn(user.id)).access.plainText],
      obtain: [0, async () => (await app.tokens.obtain(user.id)).plainText],
      refresh: [2, async () => (await app.tokens.refresh(refreshToken)).access.plainText],
    };
    const rowOf = ({ id }: Token) => app.dataSource.getRepository(Token).findOneByOrFail({ id });

    it.each(Object.entries(WAYS))('gets another id, and overwrites no token: %s', async (_, [added, way]) => {
      const [row, count] = [await rowOf(taken.token), await app.countTokens()];
      collide(2);
      const plainText = await way();
      expect((await app.get('/me', plainText)).json.token.userId).toBe(user.id);
      expect(await rowOf(taken.token)).toEqual(row);
      expect(await app.countTokens()).toBe(count + added);
    });

    it.each(Object.entries(WAYS))(
      'is answered 503 after three collisions, and nothing is written: %s',
      async (_, [, way]) => {
        const before = await stateOf(app, user);
        collide(3);
        await expect(way()).rejects.toMatchObject({ code: 'unavailable' });
        vi.restoreAllMocks();
        expect(await stateOf(app, user)).toEqual(before);
        expect((await app.get('/me', taken.plainText)).status).toBe(200);
        expect((await way()).length).toBeGreaterThan(0);
      },
    );
  });
});

describe("Without the user's lock, as on a server that lost it,", () => {
  /** Takes a different lock each time, so that the user's lock excludes nobody. */
  function unlock(app: TestApp): void {
    const database = app.nest.get<Database>(DATABASE);
    const transaction = database.transaction.bind(database);
    vi.spyOn(database, 'transaction').mockImplementation((_, script, signal) =>
      transaction(randomUUID(), script, signal),
    );
  }

  onEveryDatabase(
    (environment) => {
      /** Repeats twenty simultaneous refreshes of one token over two applications. */
      async function race(
        grace: string | number,
        check: (app: TestApp, deviceId: string, first: string, pairs: Set<string>) => Promise<void>,
      ) {
        const one = await environment.boot({ options: { refresh: { grace } } });
        const two = await environment.boot({ options: { refresh: { grace } }, clock: one.clock });
        [one, two].forEach(unlock);
        const { id } = await one.createUser();
        let refused = 0;
        for (let round = 0; round < 5; round++) {
          const { refresh } = await one.tokens.logIn(id);
          const outcomes = await Promise.allSettled(
            Array.from({ length: 20 }, (_, turn) => (turn % 2 ? one : two).tokens.refresh(refresh!.plainText)),
          );
          const pairs = new Set<string>();
          for (const outcome of outcomes) {
            if (outcome.status === 'fulfilled') {
              const { access, refresh: next } = outcome.value;
              pairs.add(`${access.plainText} ${next.plainText}`);
            } else if (outcome.reason.code === 'unavailable') refused++;
            else expect([grace, outcome.reason.code], `round ${round}`).toEqual([0, 'refresh_invalid']);
          }
          await check(one, refresh!.token.deviceId, refresh!.plainText, pairs);
        }
        // Otherwise another transaction has won.
        expect(refused).toBeGreaterThan(0);
      }

      it("the first transaction that changes the refresh token's row wins, and the others get its pair", () =>
        race('30s', async (app, deviceId, presented, pairs) => {
          expect(pairs.size).toBe(1);
          const rows = await app.dataSource.getRepository(Token).findBy({ deviceId });
          expect(rows.map(({ purpose }) => purpose).toSorted()).toEqual(['access', 'access', 'refresh', 'rotated']);
          const { access, refresh } = await app.tokens.refresh(presented);
          expect(pairs).toContain(`${access.plainText} ${refresh.plainText}`);
        }));

      it('no other transaction gets anything if grace is 0', () =>
        race(0, async (app, deviceId, _, pairs) => {
          expect(pairs.size).toBeLessThanOrEqual(1);
          const rows = await app.dataSource.getRepository(Token).countBy({ deviceId, purpose: 'refresh' });
          expect(rows).toBeLessThanOrEqual(1);
        }));
    },
    ['postgres', 'mariadb'],
  );
});
