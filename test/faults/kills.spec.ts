import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AppProcess, type RemoteApp } from '../fixtures/app-process.js';
import { figure } from '../fixtures/figures.js';
import { forEach, ITERATIONS, PATIENCE_MS, tally } from '../fixtures/iterations.js';
import { onEverySharedDatabase, type SharedDatabase } from '../fixtures/shared-database.js';

/*
 * A process that is killed with SIGKILL at a random moment, with many requests under way: one kill interrupts as many of
 * them as there are clients, each at a point of its own, and it is those that are counted. Another process is left to
 * carry on.
 */

const CLIENTS = 20;

let survivor: AppProcess;
beforeAll(async () => {
  survivor = await AppProcess.start();
});
afterAll(() => survivor.stop());

const randomBetween = (least: number, most: number) => least + Math.floor(Math.random() * (most - least + 1));
const turnOfTheEventLoop = () => new Promise<void>((resolve) => setImmediate(resolve));

/**
 * Kills a process of its own again and again. While one is being killed, the next one starts.
 *
 * @param once - serves, is told to be killed, and looks at what is left; returns how many requests were interrupted
 */
async function killing(enough: number, once: (victim: AppProcess) => Promise<number>): Promise<number> {
  let interrupted = 0;
  let next = AppProcess.start();
  while (interrupted < enough) {
    const victim = await next;
    next = AppProcess.start();
    interrupted += await once(victim);
  }
  await (await next).kill();
  return interrupted;
}

/**
 * Keeps clients busy until the process is killed, after a random number of answers.
 *
 * @param busy - one client's next request; resolves to false when it has no more to ask
 * @returns how many requests were under way
 */
async function killUnderLoad(
  victim: AppProcess,
  busy: readonly (() => Promise<boolean>)[],
  answers: number,
): Promise<number> {
  let answered = 0;
  let interrupted = 0;
  let death: Promise<void> | undefined;
  const kill = async () => {
    for (let turns = randomBetween(0, 20); turns > 0; turns--) await turnOfTheEventLoop();
    await victim.kill();
  };
  await Promise.all(
    busy.map(async (ask) => {
      while (!death) {
        try {
          if (!(await ask())) return;
        } catch (error) {
          // Before the kill nothing may fail.
          if (!death) throw error;
          interrupted++;
          return;
        }
        if (++answered === answers) death = kill();
      }
    }),
  );
  await (death ?? victim.kill());
  return interrupted;
}

async function serve(
  database: SharedDatabase,
  process: AppProcess,
  options: Parameters<SharedDatabase['serve']>[1],
): Promise<RemoteApp> {
  const [app] = await database.serve([process], options);
  return app!;
}

describe('A process killed amid refreshes', () => {
  onEverySharedDatabase((database) => {
    it('locks no client out, and leaves each device one leaf', { timeout: PATIENCE_MS }, async (context) => {
      let lost = 0;
      let families = 0;
      const options = { refresh: { grace: '30s' } } as const;
      const left = await serve(database, survivor, options);
      const interrupted = await killing(ITERATIONS, async (victim) => {
        const doomed = await serve(database, victim, options);
        const clients = await Promise.all(
          (await database.createUsers(CLIENTS)).map(async (user) => {
            const { deviceId, refreshToken } = (await left.login(user)).json;
            return { user, deviceId: deviceId as string, refreshToken: refreshToken as string, refreshed: 0 };
          }),
        );
        const ask = (client: (typeof clients)[number]) => async () => {
          const { status, json } = await doomed.refresh(client.refreshToken);
          expect(status).toBe(200);
          client.refreshToken = json.refreshToken;
          client.refreshed++;
          return true;
        };
        const count = await killUnderLoad(victim, clients.map(ask), randomBetween(CLIENTS, 5 * CLIENTS));
        await forEach(clients, 5, async ({ user, refreshToken, refreshed }) => {
          if (((await database.count(user)).rotated ?? 0) > refreshed) lost++;
          const { status, json } = await left.refresh(refreshToken);
          expect(status).toBe(200);
          // The refresh whose answer was lost, and this one, are one; and each one made a row of each kind.
          expect(await database.count(user)).toEqual({ access: refreshed + 2, refresh: 1, rotated: refreshed + 1 });
          expect((await left.get('/me', json.token)).status).toBe(200);
          expect((await left.refresh(json.refreshToken)).status).toBe(200);
        });
        families += clients.length;
        return count;
      });
      await left.close();
      expect(interrupted).toBeGreaterThanOrEqual(ITERATIONS);
      figure(context, {
        fault: 'F12',
        on: database.name,
        pass: 'every client goes on, one leaf a device',
        ours: `${families} of ${families} clients continued, 0 forks, 0 half-written; kill -9 interrupted ${interrupted} refreshes, ${lost} of them between commit and answer`,
      });
    });
  });
});

describe('A process killed amid logouts', () => {
  onEverySharedDatabase((database) => {
    it(
      'lets in no token that was answered to be dead, and ends devices whole',
      { timeout: PATIENCE_MS },
      async (context) => {
        let answered = 0;
        const unknown: string[] = [];
        const left = await serve(database, survivor, { refresh: {} });
        const interrupted = await killing(ITERATIONS / 2, async (victim) => {
          const doomed = await serve(database, victim, { refresh: {} });
          /** What one request ends: a device, or a user's two. */
          interface Farewell {
            user: string;
            tokens: { token: string; refreshToken: string }[];
            all: boolean;
            outcome: 'none' | 'interrupted' | 'answered';
          }
          const users = await database.createUsers(4 * CLIENTS);
          const farewells: Farewell[] = await Promise.all(
            users.map(async (user, index) => {
              const all = index % 2 === 0;
              const logins = [await left.login(user), ...(all ? [await left.login(user)] : [])];
              return { user, all, outcome: 'none' as const, tokens: logins.map(({ json }) => json) };
            }),
          );
          const queue = farewells.values();
          const ask = async () => {
            const { value: farewell } = queue.next();
            if (!farewell) return false;
            farewell.outcome = 'interrupted';
            const [{ token }] = farewell.tokens as [Farewell['tokens'][number]];
            const { status } = await (farewell.all ? doomed.logoutAll(token) : doomed.logout(token));
            expect(status).toBe(farewell.all ? 200 : 204);
            farewell.outcome = 'answered';
            return true;
          };
          const clients = Array.from({ length: CLIENTS }, () => ask);
          const count = await killUnderLoad(victim, clients, randomBetween(1, 3 * CLIENTS));
          await forEach(farewells, 5, async ({ user, tokens, outcome }) => {
            const accepted = await Promise.all(tokens.map(({ token }) => left.get('/me', token)));
            const refreshed = await Promise.all(tokens.map(({ refreshToken }) => left.refresh(refreshToken)));
            const statuses = new Set([...accepted, ...refreshed].map(({ status }) => status));
            if (outcome === 'none') expect([...statuses]).toEqual([200]);
            if (outcome === 'answered') expect([...statuses]).toEqual([401]);
            // Nobody knows which; but it is one of both for all that the request was to end.
            expect(statuses.size).toBe(1);
            if (statuses.has(401)) expect(await database.tokensOf(user)).toEqual([]);
            if (outcome === 'answered') answered++;
            if (outcome === 'interrupted') unknown.push(statuses.has(401) ? 'ended' : 'not');
          });
          return count;
        });
        await left.close();
        expect(interrupted).toBeGreaterThanOrEqual(ITERATIONS / 2);
        figure(context, {
          fault: 'F13',
          on: database.name,
          pass: 'no token let in whose end was answered',
          ours: `0 tokens let in of ${answered} answered logouts; kill -9 interrupted ${interrupted}, of which ${tally(unknown).ended ?? 0} had been done`,
        });
      },
    );
  });
});

describe('A process killed while it prunes', () => {
  const KILLS = Math.ceil(ITERATIONS / 60);
  const EXPIRED = 2000;
  const LIVE = 200;

  onEverySharedDatabase((database) => {
    it('deletes nothing that lives, and the next one finishes', { timeout: PATIENCE_MS }, async (context) => {
      // It does not prune in the background, and the other one may as well.
      const other = await serve(database, survivor, { lifespan: '1d' });
      const left: number[] = [];
      await killing(KILLS, async (victim) => {
        const doomed = await serve(database, victim, { lifespan: '1d', prune: { batch: 50 } });
        const [user] = await database.createUsers(1);
        const day = 86_400_000;
        await database.insertTokens(user!, EXPIRED, new Date(Date.now() - 30 * day));
        await database.insertTokens(user!, LIVE, new Date());
        // Not live any more, but to be told that they have expired.
        await database.insertTokens(user!, LIVE, new Date(Date.now() - 5 * day));
        const enough = 2 * LIVE + randomBetween(EXPIRED / 10, EXPIRED - 100);
        const sweep = doomed.call('tokens', 'prune').then(
          () => 'finished',
          () => 'killed',
        );
        while ((await database.countOf(user!)) > enough);
        await victim.kill();
        expect(await sweep).toBe('killed');
        const rest = (await database.countOf(user!)) - 2 * LIVE;
        expect(rest).toBeGreaterThan(0);
        expect(await other.call('tokens', 'prune')).toBe(rest);
        expect(await database.countOf(user!)).toBe(2 * LIVE);
        expect(await other.call('tokens', 'prune')).toBe(0);
        left.push(rest);
        await database.removeTokens(user!);
        return 1;
      });
      await other.close();
      figure(context, {
        fault: 'F14',
        on: database.name,
        pass: 'no live row lost, the next prune finishes',
        ours: `0 of ${KILLS * 2 * LIVE} rows lost that were to stay; the next prune deleted the other ${left.join(', ')} of ${EXPIRED}`,
      });
    });
  });
});
