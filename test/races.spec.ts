import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { forEach, ITERATIONS, PATIENCE_MS, report } from './fixtures/iterations.js';
import { ALL_RACES } from './fixtures/races/all.races.js';
import {
  answered,
  bodyOf,
  LANES,
  outcome,
  outcomes,
  processes,
  SECRET,
  simultaneously,
  startProcesses,
  use,
  withApps,
} from './fixtures/races/two-processes.js';
import { onEverySharedDatabase, type SharedDatabase } from './fixtures/shared-database.js';

startProcesses();

/** The users are divided among these rounds, each of which has its own clock. */
const ROUNDS = 10;

describe.each(Object.entries(ALL_RACES))('%s', (_, race) => {
  onEverySharedDatabase((database) => race(database, ITERATIONS));
});

describe('Revoking all devices, pruning and evictions, simultaneously in two processes', () => {
  onEverySharedDatabase((database) => {
    it('cause no deadlock, and leave no more rows than the limit allows', { timeout: PATIENCE_MS }, () => {
      const limit = { perUser: 5, policy: 'evict' } as const;
      const options = { lifespan: '30d', refresh: {}, limit, prune: { batch: 3, retention: '7d' } };
      return withApps(database, options, async (one, two) => {
        const users = await database.createUsers(ITERATIONS / 4);
        const expiredSince = new Date(Date.now() - 60 * 24 * 3_600_000);
        const tokens = new Map<string, string>();
        await forEach(users, LANES, async (user) => {
          await database.insertTokens(user, 5, expiredSince);
          await database.insertTokens(user, 3, new Date());
          await one.login(user);
          tokens.set(user, bodyOf(await two.login(user)).token);
        });
        let swept = 0;
        await forEach(users, LANES, async (user) => {
          const [logout, answers, ...sweeps] = await Promise.all([
            one.logoutAll(tokens.get(user)!),
            simultaneously(8, [two, one], (app) => app.login(user)),
            two.call<number>('tokens', 'prune'),
            one.call<number>('tokens', 'prune'),
          ]);
          // The device may have been evicted before.
          expect(['2xx', '401 token_invalid']).toContain(outcome(logout));
          expect(outcomes(answers)).toEqual({ '2xx': 8 });
          swept += sweeps[0] + sweeps[1];
          const rows = await database.tokensOf(user);
          expect(new Set(rows.map(({ deviceId }) => deviceId)).size).toBeLessThanOrEqual(limit.perUser);
          expect(rows.filter(({ created }) => created <= expiredSince)).toEqual([]);
        });
        expect(swept).toBeLessThanOrEqual(users.length * 5);
        for (const [index, { log }] of processes.entries()) {
          expect(log, `process ${index}`).not.toMatch(/deadlock|Answering 503/i);
        }
        report(`R15 ${database.name}: 0 deadlocks, 0 x 5xx, ${swept} rows were swept (${users.length} iterations)`);
      });
    });
  });
});

describe('A logout racing', () => {
  onEverySharedDatabase((database) => {
    it('requests that write the last use leaves no row', { timeout: PATIENCE_MS }, async () => {
      let used = 0;
      const users = await database.createUsers(ITERATIONS);
      // The applications are closed before the check, so that they have written every last use.
      await withApps(database, { idle: '1h', lastUsedAccuracy: 1 }, (one, two) =>
        forEach(users, LANES, async (user) => {
          const { token } = bodyOf(await one.login(user));
          const uses = simultaneously(6, [one, two], (app) => app.get('/me', token));
          expect((await two.logout(token)).status).toBe(204);
          const answers = await uses;
          for (const answer of answers) expect(['2xx', '401 token_invalid']).toContain(outcome(answer));
          used += answered(answers, 200).length;
          expect(await use(one, token)).toBe('401 token_invalid');
        }),
      );
      for (const user of users) expect(await database.tokensOf(user), user).toEqual([]);
      report(
        `R8 ${database.name}, last use: 0 resurrected rows, 0 x 5xx (${ITERATIONS} iterations, ${used} of ` +
          `${ITERATIONS * 6} uses were first)`,
      );
    });

    it('a renewal of the token leaves no row of it', { timeout: PATIENCE_MS }, () =>
      withApps(database, { secret: SECRET, obtain: 'renew' }, async (one, two) => {
        let renewed = 0;
        const users = await database.createUsers(ITERATIONS);
        await forEach(users, LANES, async (user) => {
          const { token, deviceId } = bodyOf(await one.obtain(user));
          const renewals = simultaneously(3, [one, two], (app) => app.obtain(user));
          expect((await two.logout(token)).status).toBe(204);
          const answers = await renewals;
          expect(outcomes(answers)).toEqual({ '2xx': 3 });
          renewed += answers.filter(({ json }) => json.token === token).length;
          expect(await database.count(user, deviceId)).toEqual({});
          expect(await use(one, token)).toBe('401 token_invalid');
          // Requests after the logout got another token, which is complete.
          for (const { json } of answers.filter((answer) => answer.json.token !== token)) {
            expect(await use(two, json.token)).toBe('2xx');
          }
        });
        report(
          `R8 ${database.name}, renewal: 0 resurrected rows, 0 x 5xx (${ITERATIONS} iterations, ${renewed} of ` +
            `${ITERATIONS * 3} renewals were first)`,
        );
      }),
    );
  });
});

describe('A token that expires, renewed while another process prunes', () => {
  /** Makes the database record every committed renewal and use, in the same transaction. */
  async function recordRenewals({ source, name }: SharedDatabase): Promise<void> {
    await source.query('CREATE TABLE renewal AS SELECT id, created AS later FROM auth_token WHERE 1 = 0');
    const record = 'INSERT INTO renewal (id, later) VALUES (NEW.id, NEW.created - OLD.created)';
    if (name === 'postgres') {
      await source.query(
        `CREATE FUNCTION record_renewal() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${record}; RETURN NEW; END $$`,
      );
      await source.query(
        'CREATE TRIGGER renewals AFTER UPDATE ON auth_token FOR EACH ROW EXECUTE FUNCTION record_renewal()',
      );
    } else {
      await source.query(`CREATE TRIGGER renewals AFTER UPDATE ON auth_token FOR EACH ROW BEGIN ${record}; END`);
    }
  }

  /** How many renewals or uses there were, and how many of their rows are gone. */
  async function recorded({ source }: SharedDatabase, which: 'renewed' | 'used') {
    const sql = `SELECT COUNT(*) AS count FROM renewal WHERE later ${which === 'renewed' ? '>' : '='} 0`;
    const [all] = await source.query(sql);
    const [gone] = await source.query(`${sql} AND id NOT IN (SELECT id FROM auth_token)`);
    return { count: Number(all.count), deleted: Number(gone.count) };
  }

  /** Sets the clock of the pruning process past the expiry and the retention, and the other one a millisecond before the expiry. */
  const LIFETIME_MS = 3_600_000;
  async function setClocks(start: number): Promise<void> {
    await processes[0]!.setClock({ at: start + LIFETIME_MS - 1 });
    await processes[1]!.setClock({ at: start + LIFETIME_MS + 2 });
  }

  onEverySharedDatabase((database) => {
    beforeAll(() => recordRenewals(database));
    beforeEach(() => database.source.query('DELETE FROM renewal'));

    it('is pruned or renewed, and never pruned after it was renewed', { timeout: PATIENCE_MS }, async () => {
      const options = {
        secret: SECRET,
        obtain: 'renew',
        lifespan: LIFETIME_MS,
        prune: { retention: 1, batch: 1 },
      } as const;
      await withApps(database, options, async (one, two) => {
        let pruned = 0;
        for (let round = 0; round < ROUNDS; round++) {
          const start = Date.now();
          await Promise.all(processes.map((process) => process.setClock({ at: start })));
          const users = await database.createUsers(ITERATIONS / ROUNDS);
          const tokens = new Map<string, string>();
          await forEach(users, LANES, async (user) => void tokens.set(user, bodyOf(await one.obtain(user)).token));
          await setClocks(start);
          const sweep = two.call<number>('tokens', 'prune');
          // The sweep starts with the oldest token, and these requests with the newest one, so that both meet.
          await forEach(users.toReversed(), 2, async (user) => {
            const { status, json } = await one.obtain(user);
            expect(status).toBe(200);
            expect(await use(one, json.token)).toBe('2xx');
            if (json.token !== tokens.get(user)) pruned++;
          });
          await sweep;
        }
        const { count: renewed, deleted } = await recorded(database, 'renewed');
        expect(renewed).toBeGreaterThan(0);
        expect(renewed + pruned).toBe(ITERATIONS);
        expect(deleted).toBe(0);
        report(
          `R9 ${database.name}, renewal: 0 renewed rows deleted (${renewed} renewed and ${pruned} pruned before, of ` +
            `${ITERATIONS})`,
        );
      });
    });

    it('is never pruned after it was used', { timeout: PATIENCE_MS }, async () => {
      const options = { idle: LIFETIME_MS, lifespan: null, lastUsedAccuracy: 1, prune: { retention: 1, batch: 1 } };
      let [issued, rejected] = [0, 0];
      await withApps(database, options, async (one, two) => {
        const round = async () => {
          const start = Date.now();
          await Promise.all(processes.map((process) => process.setClock({ at: start })));
          const users = await database.createUsers(ITERATIONS / ROUNDS);
          issued += users.length;
          const tokens: string[] = [];
          await forEach(users, LANES, async (user) => void tokens.push(bodyOf(await one.login(user)).token));
          await setClocks(start);
          const sweep = two.call<number>('tokens', 'prune');
          await forEach(tokens.toReversed(), 2, async (token) => {
            if ((await use(one, token)) !== '2xx') rejected++;
          });
          await sweep;
        };
        for (let done = 0; done < ROUNDS; done++) await round();
        // On a busy machine all tokens may be pruned before a use is written, which shows nothing.
        for (let more = 0; more < 10 * ROUNDS && (await recorded(database, 'used')).count === 0; more++) await round();
      });
      const { count: used, deleted } = await recorded(database, 'used');
      expect(used).toBeGreaterThan(0);
      expect(used).toBeLessThanOrEqual(issued - rejected);
      expect(deleted).toBe(0);
      report(
        `R9 ${database.name}, use: 0 used rows deleted (${used} used and ${rejected} pruned before, of ${issued})`,
      );
    });
  });
});
