import type { IssuedToken, LoggedIn } from 'nestjs-expiring-token';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AppProcess, type RemoteApp } from './fixtures/app-process.js';
import type { Answer } from './fixtures/http.js';
import { forEach, ITERATIONS, PATIENCE_MS, report, tally } from './fixtures/iterations.js';
import { onEverySharedDatabase, type SharedDatabase } from './fixtures/shared-database.js';

/*
 * Races in two processes that share a database. Each race runs for many users, several of them at the same time, because
 * requests of one user wait only for each other.
 */

const LANES = 4;
const SECRET = 'a secret of thirty-two bytes, or more';

let processes: AppProcess[];
beforeAll(async () => {
  processes = await Promise.all([AppProcess.start(), AppProcess.start()]);
});
afterAll(async () => {
  await Promise.all(processes.map((process) => process.stop()));
});

/** Serves applications for one test, and closes them afterwards. */
async function withApps(
  database: SharedDatabase,
  options: Parameters<SharedDatabase['serve']>[1],
  test: (one: RemoteApp, two: RemoteApp) => Promise<void>,
): Promise<void> {
  const [one, two] = await database.serve(processes, options);
  await Promise.all(processes.map((process) => process.setClock({ offset: 0 })));
  await Promise.all(processes.map((process) => process.events()));
  await test(one!, two!);
  await Promise.all([one!, two!].map((app) => app.close()));
}

/** Sends this number of simultaneous requests, to the applications in turn; returns the answers. */
const simultaneously = <T>(
  count: number,
  apps: readonly RemoteApp[],
  send: (app: RemoteApp) => Promise<T>,
): Promise<T[]> => Promise.all(Array.from({ length: count }, (_, turn) => send(apps[turn % apps.length]!)));

/** The same with calls of the service, which cost less than requests. */
const crowd = async <T>(count: number, apps: readonly RemoteApp[], method: string, ...parameters: unknown[]) =>
  (await Promise.all(apps.map((app) => app.crowd<T>(count / apps.length, method, ...parameters)))).flat();

const answered = (answers: readonly Answer[], status: number) => answers.filter((answer) => answer.status === status);
const outcome = ({ status, json }: Answer): string => (status < 300 ? '2xx' : `${status} ${json?.code}`);
const outcomes = (answers: readonly Answer[]) => tally(answers.map(outcome));
/** Presents a token; returns whether it is accepted, or how it is rejected. */
const use = async (app: RemoteApp, token: string) => outcome(await app.get('/me', token));
/** Returns the body of an answer, which must be 200. */
function bodyOf({ status, json }: Answer): any {
  if (status !== 200) expect({ status, json, log: processes.map(({ log }) => log) }).toBe('200');
  return json;
}
const pairOf = ({ json }: Answer) => `${json.token} ${json.refreshToken} ${json.deviceId}`;

/** The payloads of all events with this name, which either process emitted. */
async function emitted(name: string): Promise<Record<string, unknown>[]> {
  const events = (await Promise.all(processes.map((process) => process.events()))).flat();
  return events.filter((event) => event.name === name).map(({ payload }) => payload);
}

describe('Forty simultaneous logins of a user in two processes, with room for five devices', () => {
  onEverySharedDatabase((database) => {
    it('all succeed with evict, and leave the five newest', { timeout: PATIENCE_MS }, () =>
      withApps(database, { limit: { perUser: 5, policy: 'evict' } }, async (one, two) => {
        const users = await database.createUsers(ITERATIONS);
        const statuses: number[] = [];
        await forEach(users, LANES, async (user) => {
          const logins = await crowd<LoggedIn>(40, [one, two], 'logIn', user);
          statuses.push(...logins.map(({ status }) => status));
          const rows = await database.tokensOf(user);
          expect(rows).toHaveLength(5);
          const tokens = logins.map(({ result }) => result!.access);
          const kept = tokens.filter(({ token }) => rows.some(({ id }) => id === token.id));
          expect(kept).toHaveLength(5);
          const times = (of: readonly IssuedToken[]) => of.map(({ token }) => new Date(token.created).getTime());
          const evicted = tokens.filter((token) => !kept.includes(token));
          // Tokens of the same millisecond count as equally new.
          expect(Math.min(...times(kept))).toBeGreaterThanOrEqual(Math.max(...times(evicted)));
          for (const { plainText } of kept) expect(await use(two, plainText)).toBe('2xx');
          expect(await use(one, evicted[0]!.plainText)).toBe('401 token_invalid');
        });
        expect(tally(statuses)).toEqual({ 200: users.length * 40 });
        report(
          `R1 ${database.name}, evict: 40 of 40 logins 200, exactly 5 valid, the newest (${users.length} iterations)`,
        );
      }),
    );

    it('never evict the login in progress, even if the clock of its process is behind', { timeout: PATIENCE_MS }, () =>
      withApps(database, { lifespan: '1h', limit: { perUser: 2, policy: 'evict' } }, async (one, two) => {
        await processes[1]!.setClock({ offset: -60_000 });
        const users = await database.createUsers(20);
        await forEach(users, LANES, async (user) => {
          await Promise.all([one.login(user), one.login(user)]);
          expect(await use(two, bodyOf(await two.login(user)).token)).toBe('2xx');
          expect(await database.count(user)).toEqual({ access: 2 });
        });
      }),
    );

    it('succeed five times with reject, and the others are answered 403', { timeout: PATIENCE_MS }, () =>
      withApps(database, { lifespan: '1h', limit: { perUser: 5, policy: 'reject' } }, async (one, two) => {
        const users = await database.createUsers(ITERATIONS);
        await forEach(users, LANES, async (user) => {
          const logins = await crowd<LoggedIn>(40, [one, two], 'logIn', user);
          const results = tally(logins.map(({ status, code }) => (status === 200 ? '200' : `${status} ${code}`)));
          expect(results).toEqual({ 200: 5, '403 limit_reached': 35 });
          const accepted = logins.filter(({ status }) => status === 200);
          for (const { result } of accepted) expect(await use(two, result!.access.plainText)).toBe('2xx');
          expect(await database.count(user)).toEqual({ access: 5 });
          expect(outcome(await one.login(user))).toBe('403 limit_reached');
        });
        report(`R1 ${database.name}, reject: 5 x 200 and 35 x 403, exactly 5 valid (${users.length} iterations)`);
      }),
    );
  });
});

describe('Twenty simultaneous refreshes of a token in two processes', () => {
  onEverySharedDatabase((database) => {
    it('all get the same pair within the grace', { timeout: PATIENCE_MS }, () =>
      withApps(database, { refresh: { grace: '30s' } }, async (one, two) => {
        const users = await database.createUsers(ITERATIONS);
        const pairs: number[] = [];
        await forEach(users, LANES, async (user) => {
          const { refreshToken, deviceId } = bodyOf(await one.login(user));
          const answers = await simultaneously(20, [one, two], (app) => app.refresh(refreshToken));
          expect(outcomes(answers)).toEqual({ '2xx': 20 });
          pairs.push(new Set(answers.map(pairOf)).size);
          expect(answers[0]!.json.deviceId).toBe(deviceId);
          expect(answers[0]!.json.refreshToken).not.toBe(refreshToken);
          expect(await database.count(user)).toEqual({ access: 2, refresh: 1, rotated: 1 });
          expect(await use(two, answers[0]!.json.token)).toBe('2xx');
        });
        expect(tally(pairs)).toEqual({ 1: ITERATIONS });
        report(`R2 ${database.name}: 20 of 20 answers 2xx, 1 distinct pair, +1 refresh row (${ITERATIONS} iterations)`);
      }),
    );

    it('have one winner without a grace, and the device is revoked', { timeout: PATIENCE_MS }, () =>
      withApps(database, { refresh: { grace: 0 } }, async (one, two) => {
        const users = await database.createUsers(ITERATIONS);
        await forEach(users, LANES, async (user) => {
          const login = await one.login(user);
          const answers = await simultaneously(20, [one, two], (app) => app.refresh(login.json.refreshToken));
          expect(outcomes(answers)).toEqual({ '2xx': 1, '401 refresh_invalid': 19 });
          expect(await database.count(user)).toEqual({});
          const [winner] = answered(answers, 200);
          expect(await use(two, winner!.json.token)).toBe('401 token_invalid');
          expect(outcome(await two.refresh(winner!.json.refreshToken))).toBe('401 refresh_invalid');
        });
        expect(await emitted('expiring-token.reused')).toHaveLength(ITERATIONS);
        report(`R3 ${database.name}: 1 x 2xx, 19 x 401, 0 x 5xx, the device is revoked (${ITERATIONS} iterations)`);
      }),
    );
  });
});

describe('A stolen refresh token replayed after the grace, while its owner refreshes', () => {
  onEverySharedDatabase((database) => {
    it('revokes the device with all of its tokens, and is reported once', { timeout: PATIENCE_MS }, () =>
      withApps(database, { refresh: { grace: '30s' } }, async (one, two) => {
        const users = await database.createUsers(ITERATIONS);
        const devices = new Map<string, { stolen: string; owned: string; tokens: string[] }>();
        await forEach(users, LANES, async (user) => {
          const first = bodyOf(await one.login(user));
          const second = bodyOf(await two.refresh(first.refreshToken));
          devices.set(user, {
            stolen: first.refreshToken,
            owned: second.refreshToken,
            tokens: [first.token, second.token],
          });
        });
        const now = Date.now();
        await Promise.all(processes.map((process) => process.setClock({ at: now + 31_000 })));
        const wins: string[] = [];
        await forEach(users, LANES, async (user) => {
          const { stolen, owned, tokens } = devices.get(user)!;
          const [owner, thief] = await Promise.all([one.refresh(owned), two.refresh(stolen)]);
          expect(outcome(thief)).toBe('401 refresh_invalid');
          expect(['2xx', '401 refresh_invalid']).toContain(outcome(owner));
          wins.push(outcome(owner));
          expect(await database.count(user)).toEqual({});
          if (owner.status === 200) {
            tokens.push(owner.json.token);
            expect(outcome(await two.refresh(owner.json.refreshToken))).toBe('401 refresh_invalid');
          }
          expect(await Promise.all(tokens.map((token) => use(one, token)))).toEqual(
            tokens.map(() => '401 token_invalid'),
          );
        });
        const reports = await emitted('expiring-token.reused');
        expect(tally(reports.map(({ userId }) => String(userId)))).toEqual(
          Object.fromEntries(users.map((user) => [user, 1])),
        );
        report(
          `R4 ${database.name}: 0 of ${ITERATIONS} families accepted, ${reports.length} events; the owner was first ` +
            `${tally(wins)['2xx'] ?? 0} times`,
        );
      }),
    );
  });
});

describe('Repetitions of a refresh within the grace, simultaneous in two processes', () => {
  onEverySharedDatabase((database) => {
    it('get the same pair thirty times altogether, and each one is reported', { timeout: PATIENCE_MS }, () =>
      withApps(database, { refresh: { grace: '60s' } }, async (one, two) => {
        const users = await database.createUsers(ITERATIONS / 10);
        await forEach(users, LANES, async (user) => {
          const { refreshToken } = bodyOf(await one.login(user));
          const first = await two.refresh(refreshToken);
          const answers = await simultaneously(40, [one, two], (app) => app.refresh(refreshToken));
          expect(outcomes(answers)).toEqual({ '2xx': 30, '401 refresh_invalid': 10 });
          expect(new Set(answered(answers, 200).map(pairOf))).toEqual(new Set([pairOf(first)]));
          expect(await database.count(user)).toEqual({ access: 2, refresh: 1, rotated: 1 });
          expect(await use(one, first.json.token)).toBe('2xx');
          expect(outcome(await one.refresh(first.json.refreshToken))).toBe('2xx');
        });
        const reports = await emitted('expiring-token.replayed');
        expect(tally(reports.map(({ userId, refused }) => `${String(userId)} ${String(refused)}`))).toEqual(
          Object.fromEntries(
            users.flatMap((user) => [
              [`${user} false`, 30],
              [`${user} true`, 10],
            ]),
          ),
        );
        expect(await emitted('expiring-token.reused')).toEqual([]);
        report(`R21 ${database.name}: 30 of 40 repetitions got the pair, 40 events (${users.length} iterations)`);
      }),
    );

    it('are refused to another user agent, and the device goes on', { timeout: PATIENCE_MS }, () =>
      withApps(database, { refresh: { grace: '60s' } }, async (one, two) => {
        const users = await database.createUsers(ITERATIONS / 5);
        const owner = [['User-Agent', 'the owner']] as const;
        const thief = [['User-Agent', 'the thief']] as const;
        await forEach(users, LANES, async (user) => {
          let { refreshToken } = bodyOf(await one.login(user));
          // The thief follows from rotation to rotation, and never gets a pair.
          for (let rotation = 0; rotation < 3; rotation++) {
            const first = await one.refresh(refreshToken, owner);
            const [ofOwner, ofThief] = await Promise.all([
              simultaneously(4, [two, one], (app) => app.refresh(refreshToken, owner)),
              simultaneously(4, [one, two], (app) => app.refresh(refreshToken, thief)),
            ]);
            expect(new Set(ofOwner.map(pairOf))).toEqual(new Set([pairOf(first)]));
            expect(outcomes(ofThief)).toEqual({ '401 refresh_invalid': 4 });
            ({ refreshToken } = bodyOf(first));
          }
          expect(await database.count(user)).toEqual({ access: 4, refresh: 1, rotated: 3 });
        });
        const reports = await emitted('expiring-token.replayed');
        expect(tally(reports.map(({ refused }) => String(refused)))).toEqual({
          false: users.length * 12,
          true: users.length * 12,
        });
        report(`R21 ${database.name}: 0 pairs for another user agent (${users.length * 12} attempts)`);
      }),
    );
  });
});

describe('A refresh racing', () => {
  onEverySharedDatabase((database) => {
    it('the renaming of its device leaves no token with the earlier name', { timeout: PATIENCE_MS }, () =>
      withApps(database, { refresh: {} }, async (one, two) => {
        const users = await database.createUsers(ITERATIONS);
        await forEach(users, LANES, async (user) => {
          const { refreshToken, deviceId } = bodyOf(await one.login(user));
          const rename = (name: string) =>
            two.call<{ name: string }>('tokens', 'rename', user, deviceId, name).then((device) => device.name);
          const refreshTwice = async () => one.refresh(bodyOf(await one.refresh(refreshToken)).refreshToken);
          const [refreshed, ...names] = await Promise.all([refreshTwice(), rename('first'), rename('last')]);
          expect(outcome(refreshed)).toBe('2xx');
          expect(names).toEqual(['first', 'last']);
          const rows = await database.tokensOf(user);
          expect(rows.map(({ purpose, name }) => `${purpose} ${name}`).toSorted()).toEqual([
            'access last',
            'access last',
            'access last',
            'refresh last',
            'rotated last',
            'rotated last',
          ]);
        });
        report(`R5 ${database.name}, renaming: 0 tokens with the earlier name (${ITERATIONS} iterations)`);
      }),
    );

    it('the logout of its device leaves no token', { timeout: PATIENCE_MS }, () =>
      withApps(database, { refresh: {} }, async (one, two) => {
        const users = await database.createUsers(ITERATIONS);
        const wins: string[] = [];
        await forEach(users, LANES, async (user) => {
          const { token, refreshToken } = bodyOf(await one.login(user));
          const refresh = one.refresh(refreshToken);
          const logout = await two.logout(token);
          expect(logout.status).toBe(204);
          // The refresh may not be answered yet.
          expect(await database.count(user)).toEqual({});
          const refreshed = await refresh;
          wins.push(outcome(refreshed));
          expect(await database.count(user)).toEqual({});
          if (refreshed.status === 200) expect(await use(one, refreshed.json.token)).toBe('401 token_invalid');
          else expect(outcome(refreshed)).toBe('401 refresh_invalid');
          expect(outcome(await one.refresh(refreshToken))).toBe('401 refresh_invalid');
        });
        report(
          `R5 ${database.name}: 0 valid tokens after logout in ${ITERATIONS} of ${ITERATIONS}; the refresh was first ` +
            `${tally(wins)['2xx'] ?? 0} times`,
        );
      }),
    );

    it(
      'the revocation of all devices, and logins, leaves only tokens that were issued later',
      { timeout: PATIENCE_MS },
      () =>
        withApps(database, { refresh: {} }, async (one, two) => {
          const users = await database.createUsers(ITERATIONS);
          const revocations: Record<string, (user: string, token: string) => Promise<number | null>> = {
            'logout-all': async (_, token) => {
              const { status, json } = await two.logoutAll(token);
              expect(status).toBe(200);
              return json.revoked;
            },
            changePassword: async (user) => {
              expect(await two.call('users', 'changePassword', user, null)).toBe(true);
              return null;
            },
          };
          const kinds = Object.keys(revocations);
          let survivors = 0;
          await forEach([...users.entries()], LANES, async ([index, user]) => {
            const before = [bodyOf(await one.login(user)), bodyOf(await two.login(user))];
            // Requests before, during and after the revocation.
            const refreshes = before.map(({ refreshToken }) => one.refresh(refreshToken));
            const logins = [one.login(user)];
            const revocation = revocations[kinds[index % kinds.length]!]!(user, before[0]!.token);
            logins.push(one.login(user), two.login(user));
            const revoked = await revocation;
            const answers = await Promise.all(logins);
            const refreshed = await Promise.all(refreshes);
            expect(outcomes(answers)).toEqual({ '2xx': 3 });
            for (const answer of refreshed) expect(['2xx', '401 refresh_invalid']).toContain(outcome(answer));
            // An older device is revoked, whether its refresh came before or after.
            for (const { deviceId, refreshToken } of before) {
              expect(await database.count(user, deviceId)).toEqual({});
              expect(outcome(await one.refresh(refreshToken))).toBe('401 refresh_invalid');
            }
            const tokens = [...before, ...answered(refreshed, 200).map(({ json }) => json)].map(({ token }) => token);
            for (const token of tokens) expect(await use(one, token)).toBe('401 token_invalid');
            // A login that was committed before is revoked, and a later one is complete. The number of revoked devices shows which.
            let alive = 0;
            for (const { json } of answers) {
              const isAlive = (await use(two, json.token)) === '2xx';
              expect(await database.count(user, json.deviceId)).toEqual(isAlive ? { access: 1, refresh: 1 } : {});
              if (isAlive) alive++;
            }
            if (revoked !== null) expect(revoked + alive).toBe(5);
            survivors += alive;
          });
          report(
            `R6 ${database.name}: 0 survivors of ${ITERATIONS} x 2 devices and their refreshes under ` +
              `${kinds.join(' and ')}, nothing resurrected; ${survivors} of ${ITERATIONS * 3} logins were later`,
          );
        }),
    );

    it('deactivating the user leaves no token that is accepted', { timeout: PATIENCE_MS }, () =>
      withApps(database, { refresh: {} }, async (one, two) => {
        const users = await database.createUsers(ITERATIONS);
        const wins: string[] = [];
        await forEach(users, LANES, async (user) => {
          const before = bodyOf(await one.login(user));
          const refresh = one.refresh(before.refreshToken);
          const login = one.login(user);
          expect(await two.call('users', 'setActive', user, false)).toBe(true);
          const [late, lateLogin] = await Promise.all([one.refresh(before.refreshToken), one.login(user)]);
          const answers = await Promise.all([refresh, login]);
          wins.push(...answers.map(outcome));
          expect(outcome(late)).toBe('401 user_inactive');
          expect(outcome(lateLogin)).toBe('401 credentials_invalid');
          const pairs = [before, ...answered(answers, 200).map(({ json }) => json)];
          for (const { token } of pairs) expect(await use(one, token)).toBe('401 user_inactive');
          for (const { refreshToken } of pairs)
            expect(outcome(await two.refresh(refreshToken))).toBe('401 user_inactive');
          // Each device has one valid refresh token, whatever was answered.
          const devices = new Set(pairs.map(({ deviceId }) => deviceId));
          expect((await database.count(user)).refresh).toBe(devices.size);
        });
        report(
          `R6 ${database.name}, setActive(false): 0 of ${ITERATIONS} users were accepted afterwards; ` +
            `${tally(wins)['2xx'] ?? 0} of ${wins.length} requests were first`,
        );
      }),
    );

    it('deleting the user while logins run leaves no token that is accepted', { timeout: PATIENCE_MS }, () =>
      withApps(database, { refresh: {} }, async (one, two) => {
        const users = await database.createUsers(ITERATIONS / 4);
        const wins: string[] = [];
        await forEach(users, LANES, async (user) => {
          const before = bodyOf(await one.login(user));
          const racing = [one.refresh(before.refreshToken), one.login(user), two.login(user)];
          const [deleted] = await Promise.all([two.call('users', 'delete', user), one.login(user)]);
          expect(deleted).toBe(true);
          const answers = await Promise.all(racing);
          wins.push(...answers.map(outcome));
          for (const [index, answer] of answers.entries())
            expect(outcome(answer), `request ${index}`).toMatch(
              /^(2xx|401 (refresh_invalid|user_inactive|credentials_invalid))$/,
            );
          // A login that was verified before the deletion may be stored after it: no user has its tokens.
          const pairs = [before, ...answered(answers, 200).map(({ json }) => json)];
          for (const { token, refreshToken } of pairs) {
            expect(await use(one, token)).toMatch(/^401 (token_invalid|user_inactive)$/);
            expect(outcome(await two.refresh(refreshToken))).toMatch(/^401 (refresh_invalid|user_inactive)$/);
          }
          expect(await database.count(user, before.deviceId)).toEqual({});
          expect(outcome(await one.login(user))).toBe('401 credentials_invalid');
        });
        report(
          `R6 ${database.name}, delete: 0 of ${users.length} users were accepted afterwards; ` +
            `${tally(wins)['2xx'] ?? 0} of ${wins.length} requests were first`,
        );
      }),
    );
  });
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
        const rounds = 10;
        for (let round = 0; round < rounds; round++) {
          const start = Date.now();
          await Promise.all(processes.map((process) => process.setClock({ at: start })));
          const users = await database.createUsers(ITERATIONS / rounds);
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
      const rounds = 10;
      let rejected = 0;
      await withApps(database, options, async (one, two) => {
        for (let round = 0; round < rounds; round++) {
          const start = Date.now();
          await Promise.all(processes.map((process) => process.setClock({ at: start })));
          const users = await database.createUsers(ITERATIONS / rounds);
          const tokens: string[] = [];
          await forEach(users, LANES, async (user) => void tokens.push(bodyOf(await one.login(user)).token));
          await setClocks(start);
          const sweep = two.call<number>('tokens', 'prune');
          await forEach(tokens.toReversed(), 2, async (token) => {
            if ((await use(one, token)) !== '2xx') rejected++;
          });
          await sweep;
        }
      });
      const { count: used, deleted } = await recorded(database, 'used');
      expect(used).toBeGreaterThan(0);
      expect(used).toBeLessThanOrEqual(ITERATIONS - rejected);
      expect(deleted).toBe(0);
      report(
        `R9 ${database.name}, use: 0 used rows deleted (${used} used and ${rejected} pruned before, of ${ITERATIONS})`,
      );
    });
  });
});

describe('Fifty simultaneous obtain-token requests of a user in two processes', () => {
  onEverySharedDatabase((database) => {
    it('leave one token and no error', { timeout: PATIENCE_MS }, async () => {
      const policies: RemoteApp[][] = [];
      for (const obtain of ['reuse', 'renew', 'replace'] as const) {
        policies.push(await database.serve(processes, { secret: SECRET, obtain }));
      }
      const users = await database.createUsers(ITERATIONS);
      const statuses: number[] = [];
      await forEach([...users.entries()], LANES, async ([index, user]) => {
        const apps = policies[index % policies.length]!;
        const obtained = await crowd<IssuedToken>(50, apps, 'obtain', user);
        statuses.push(...obtained.map(({ status }) => status));
        const tokens = [...new Set(obtained.map(({ result }) => result!.plainText))];
        const valid = (await Promise.all(tokens.map((token) => use(apps[0]!, token)))).filter(
          (result) => result === '2xx',
        );
        expect(valid).toHaveLength(1);
        expect(await database.count(user)).toEqual({ obtained: 1 });
      });
      expect(tally(statuses)).toEqual({ 200: ITERATIONS * 50 });
      report(`R13 ${database.name}: 50 of 50 calls succeeded, 1 row, 1 valid token (${ITERATIONS} iterations)`);
      await Promise.all(policies.flat().map((app) => app.close()));
    });
  });
});

describe('Replays of a refresh token around the end of the grace', () => {
  const GRACE_MS = 30_000;
  /** How far the clock of each process is from the end of the grace, in milliseconds. */
  const DISTANCES = [
    [-50, -50],
    [-1, -2],
    [-1, 0],
    [-1, 1],
    [0, 0],
    [1, -1],
    [10, -10],
    [-50, 50],
    [50, 50],
  ] as const;

  onEverySharedDatabase((database) => {
    it(
      'get the same pair or revoke the device, and never create a second valid refresh token',
      { timeout: PATIENCE_MS },
      () =>
        withApps(database, { refresh: { grace: GRACE_MS } }, async (one, two) => {
          const share = Math.ceil(ITERATIONS / DISTANCES.length);
          const counts: Record<string, number> = {};
          for (const [first, second] of DISTANCES) {
            const label = `clocks at ${first} ms and ${second} ms`;
            const start = Date.now();
            await Promise.all(processes.map((process) => process.setClock({ at: start })));
            const users = await database.createUsers(share);
            const families = new Map<string, { replayed: string; pair: string }>();
            await forEach(users, LANES, async (user) => {
              const { refreshToken } = bodyOf(await one.login(user));
              const answer = await two.refresh(refreshToken);
              bodyOf(answer);
              families.set(user, { replayed: refreshToken, pair: pairOf(answer) });
            });
            await processes[0]!.setClock({ at: start + GRACE_MS + first });
            await processes[1]!.setClock({ at: start + GRACE_MS + second });
            await forEach(users, LANES, async (user) => {
              const { replayed, pair } = families.get(user)!;
              const answers = await simultaneously(4, [one, two], (app) => app.refresh(replayed));
              const rows = await database.count(user);
              for (const answer of answered(answers, 200)) expect(pairOf(answer), label).toBe(pair);
              const reused = answers.filter((answer) => outcome(answer) === '401 refresh_invalid').length;
              expect(reused + answered(answers, 200).length, label).toBe(4);
              expect(rows, label).toEqual(reused > 0 ? {} : { access: 2, refresh: 1, rotated: 1 });
              const result = reused === 0 ? 'same pair' : reused === 4 ? 'revoked' : 'same pair, then revoked';
              counts[result] = (counts[result] ?? 0) + 1;
              // If one clock is at the end of the grace or past it, a replay counts as reuse.
              expect(reused > 0, label).toBe(first >= 0 || second >= 0);
            });
          }
          report(`R18 ${database.name}: 0 forks in ${share * DISTANCES.length}; ${JSON.stringify(counts)}`);
        }),
    );
  });
});
