import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AppProcess, type RemoteApp } from '../fixtures/app-process.js';
import { figure } from '../fixtures/figures.js';
import { forEach, ITERATIONS, PATIENCE_MS, tally } from '../fixtures/iterations.js';
import { onEverySharedDatabase, type SharedDatabase } from '../fixtures/shared-database.js';

/*
 * A process is killed with SIGKILL at a random moment, with many requests in progress. One kill interrupts as many requests
 * as there are clients, each at another point. The tests count these interrupted requests. Another process survives and
 * shows what is left.
 */

const CLIENTS = 20;

let survivor: AppProcess;
beforeAll(async () => {
  survivor = await AppProcess.start();
});
afterAll(() => survivor.stop());

const randomBetween = (min: number, max: number) => min + Math.floor(Math.random() * (max - min + 1));
const turnOfTheEventLoop = () => new Promise<void>((resolve) => setImmediate(resolve));

/**
 * Starts and kills processes until enough requests were interrupted. While one is being killed, the next one starts.
 *
 * @param round - serves an application in the victim, kills it, and checks what is left; returns how many requests were
 *   interrupted
 */
async function killRepeatedly(enough: number, round: (victim: AppProcess) => Promise<number>): Promise<number> {
  let interrupted = 0;
  let next = AppProcess.start();
  while (interrupted < enough) {
    const victim = await next;
    next = AppProcess.start();
    interrupted += await round(victim);
  }
  await (await next).kill();
  return interrupted;
}

/**
 * Sends requests of several clients, and kills the process after this number of answers.
 *
 * @param clients - each sends the next request of one client; resolves to false if there is none
 * @returns how many requests were interrupted
 */
async function killUnderLoad(
  victim: AppProcess,
  clients: readonly (() => Promise<boolean>)[],
  answers: number,
): Promise<number> {
  let answered = 0;
  let interrupted = 0;
  let killed: Promise<void> | undefined;
  const kill = async () => {
    for (let turns = randomBetween(0, 20); turns > 0; turns--) await turnOfTheEventLoop();
    await victim.kill();
  };
  await Promise.all(
    clients.map(async (sendNext) => {
      while (!killed) {
        try {
          if (!(await sendNext())) return;
        } catch (error) {
          // No request may fail before the kill.
          if (!killed) throw error;
          interrupted++;
          return;
        }
        if (++answered === answers) killed = kill();
      }
    }),
  );
  await (killed ?? victim.kill());
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

describe('A process that is killed during refreshes', () => {
  onEverySharedDatabase((database) => {
    it('locks no client out, and leaves one refresh token per device', { timeout: PATIENCE_MS }, async (context) => {
      let lost = 0;
      let families = 0;
      const options = { refresh: { grace: '30s' } } as const;
      const surviving = await serve(database, survivor, options);
      const interrupted = await killRepeatedly(ITERATIONS, async (victim) => {
        const doomed = await serve(database, victim, options);
        const clients = await Promise.all(
          (await database.createUsers(CLIENTS)).map(async (user) => {
            const { deviceId, refreshToken } = (await surviving.login(user)).json;
            return { user, deviceId: deviceId as string, refreshToken: refreshToken as string, refreshed: 0 };
          }),
        );
        const refreshing = (client: (typeof clients)[number]) => async () => {
          const { status, json } = await doomed.refresh(client.refreshToken);
          expect(status).toBe(200);
          client.refreshToken = json.refreshToken;
          client.refreshed++;
          return true;
        };
        const count = await killUnderLoad(victim, clients.map(refreshing), randomBetween(CLIENTS, 5 * CLIENTS));
        await forEach(clients, 5, async ({ user, refreshToken, refreshed }) => {
          if (((await database.count(user)).rotated ?? 0) > refreshed) lost++;
          const { status, json } = await surviving.refresh(refreshToken);
          expect(status).toBe(200);
          // This refresh repeats the one whose answer was lost, so both count once. A device keeps five access tokens.
          const access = Math.min(refreshed + 2, 5);
          expect(await database.count(user)).toEqual({ access, refresh: 1, rotated: refreshed + 1 });
          expect((await surviving.get('/me', json.token)).status).toBe(200);
          expect((await surviving.refresh(json.refreshToken)).status).toBe(200);
        });
        families += clients.length;
        return count;
      });
      await surviving.close();
      expect(interrupted).toBeGreaterThanOrEqual(ITERATIONS);
      figure(context, {
        fault: 'F12',
        on: database.name,
        pass: 'every client can continue, one valid refresh token per device',
        ours: `${families} of ${families} clients continued, 0 forks, 0 half-written; kill -9 interrupted ${interrupted} refreshes, ${lost} of them between commit and answer`,
      });
    });
  });
});

describe('A process that is killed during logouts', () => {
  onEverySharedDatabase((database) => {
    it(
      'leaves no token valid whose logout was answered, and revokes devices as a whole',
      { timeout: PATIENCE_MS },
      async (context) => {
        let answered = 0;
        const unknown: string[] = [];
        const surviving = await serve(database, survivor, { refresh: {} });
        const interrupted = await killRepeatedly(ITERATIONS / 2, async (victim) => {
          const doomed = await serve(database, victim, { refresh: {} });
          /** One request to log out: of a device, or of both devices of a user. */
          interface Logout {
            user: string;
            tokens: { token: string; refreshToken: string }[];
            all: boolean;
            outcome: 'none' | 'interrupted' | 'answered';
          }
          const users = await database.createUsers(4 * CLIENTS);
          const requests: Logout[] = await Promise.all(
            users.map(async (user, index) => {
              const all = index % 2 === 0;
              const logins = [await surviving.login(user), ...(all ? [await surviving.login(user)] : [])];
              return { user, all, outcome: 'none' as const, tokens: logins.map(({ json }) => json) };
            }),
          );
          const queue = requests.values();
          const sendNext = async () => {
            const { value: logout } = queue.next();
            if (!logout) return false;
            logout.outcome = 'interrupted';
            const [{ token }] = logout.tokens as [Logout['tokens'][number]];
            const { status } = await (logout.all ? doomed.logoutAll(token) : doomed.logout(token));
            expect(status).toBe(logout.all ? 200 : 204);
            logout.outcome = 'answered';
            return true;
          };
          const clients = Array.from({ length: CLIENTS }, () => sendNext);
          const count = await killUnderLoad(victim, clients, randomBetween(1, 3 * CLIENTS));
          await forEach(requests, 5, async ({ user, tokens, all, outcome }) => {
            const accepted = await Promise.all(tokens.map(({ token }) => surviving.get('/me', token)));
            const refreshed = await Promise.all(tokens.map(({ refreshToken }) => surviving.refresh(refreshToken)));
            const statuses = new Set([...accepted, ...refreshed].map(({ status }) => status));
            const label = `all: ${all}, outcome: ${outcome}`;
            if (outcome === 'none') expect([...statuses], label).toEqual([200]);
            if (outcome === 'answered') expect([...statuses], label).toEqual([401]);
            // An interrupted logout was committed or not, but always for all tokens that it revokes.
            expect(statuses.size, label).toBe(1);
            if (statuses.has(401)) expect(await database.tokensOf(user), label).toEqual([]);
            if (outcome === 'answered') answered++;
            if (outcome === 'interrupted') unknown.push(statuses.has(401) ? 'committed' : 'not');
          });
          return count;
        });
        await surviving.close();
        expect(interrupted).toBeGreaterThanOrEqual(ITERATIONS / 2);
        figure(context, {
          fault: 'F13',
          on: database.name,
          pass: 'no token accepted after its logout was answered',
          ours: `0 tokens accepted after ${answered} answered logouts; kill -9 interrupted ${interrupted}, of which ${tally(unknown).committed ?? 0} had been committed`,
        });
      },
    );
  });
});

describe('A process that is killed while it prunes', () => {
  const KILLS = Math.ceil(ITERATIONS / 60);
  const EXPIRED = 2000;
  const KEPT = 200;

  onEverySharedDatabase((database) => {
    it('deletes no valid token, and the next prune deletes the rest', { timeout: PATIENCE_MS }, async (context) => {
      // Neither application prunes in the background, so the tests start each sweep.
      const other = await serve(database, survivor, { lifespan: '1d' });
      const remaining: number[] = [];
      await killRepeatedly(KILLS, async (victim) => {
        const doomed = await serve(database, victim, { lifespan: '1d', prune: { batch: 50 } });
        const [user] = await database.createUsers(1);
        const day = 86_400_000;
        await database.insertTokens(user!, EXPIRED, new Date(Date.now() - 30 * day));
        await database.insertTokens(user!, KEPT, new Date());
        // These have expired, but are kept for the retention, so that their clients get the code token_expired.
        await database.insertTokens(user!, KEPT, new Date(Date.now() - 5 * day));
        const enough = 2 * KEPT + randomBetween(EXPIRED / 10, EXPIRED - 100);
        const sweep = doomed.call('tokens', 'prune').then(
          () => 'finished',
          () => 'killed',
        );
        while ((await database.countOf(user!)) > enough);
        await victim.kill();
        expect(await sweep).toBe('killed');
        const rest = (await database.countOf(user!)) - 2 * KEPT;
        expect(rest).toBeGreaterThan(0);
        expect(await other.call('tokens', 'prune')).toBe(rest);
        expect(await database.countOf(user!)).toBe(2 * KEPT);
        expect(await other.call('tokens', 'prune')).toBe(0);
        remaining.push(rest);
        await database.removeTokens(user!);
        return 1;
      });
      await other.close();
      figure(context, {
        fault: 'F14',
        on: database.name,
        pass: 'no valid row lost, the next prune deletes the rest',
        ours: `0 of ${KILLS * 2 * KEPT} rows lost that must stay; the next prune deleted the other ${remaining.join(', ')} of ${EXPIRED}`,
      });
    });
  });
});
