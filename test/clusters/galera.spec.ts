import { randomBytes } from 'node:crypto';
import { createConnection } from 'mysql2/promise';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { GaleraCluster } from '../fixtures/clusters/galera-cluster.js';
import { HaProxy, type Member } from '../fixtures/clusters/haproxy.js';
import { killNodes, KILLS_PATIENCE_MS } from '../fixtures/clusters/node-kills.js';
import { figure } from '../fixtures/figures.js';
import { extent, forEach, PATIENCE_MS, tally } from '../fixtures/iterations.js';
import type { Answer } from '../fixtures/http.js';
import { untilAnswered } from '../fixtures/load.js';
import type { PrivateServer } from '../fixtures/private-server.js';
import { ALL_RACES } from '../fixtures/races/all.races.js';
import { crowd, outcome, startProcesses, withApps } from '../fixtures/races/two-processes.js';
import { SharedDatabase } from '../fixtures/shared-database.js';
import type { TestDatabase } from '../fixtures/databases.js';

/*
 * A cluster of three nodes, and two processes on two of them.
 */

const RACES = extent({ usual: 4, soak: 1000 });
const ROUNDS = extent({ usual: 150, soak: 2000 });

let cluster: GaleraCluster;
const database = new SharedDatabase('mariadb', () => cluster.createDatabase(), 'Galera');

/** Runs a statement on a node, also if the node is not part of the cluster at the moment. */
async function ask({ port }: PrivateServer, sql: string): Promise<Record<string, string>[]> {
  const connection = await createConnection({ host: '127.0.0.1', port, user: 'root', connectTimeout: 2000 });
  try {
    return (await connection.query(sql))[0] as Record<string, string>[];
  } finally {
    connection.destroy();
  }
}

/** A node that has applied what the cluster committed. */
const isSynced = async (node: PrivateServer): Promise<boolean> =>
  (await ask(node, "SHOW STATUS LIKE 'wsrep_local_state'"))[0]?.Value === '4';

describe.skipIf(!inject('engines').includes('galera'))('On two nodes of MariaDB Galera,', () => {
  beforeAll(async () => {
    cluster = await GaleraCluster.start();
    await database.open();
  });
  afterAll(async () => {
    await database.close();
    await cluster.remove();
  });
  startProcesses();

  it(
    'a token is accepted immediately on the other node, and rejected immediately after its logout',
    { timeout: PATIENCE_MS },
    (context) =>
      withApps(database, { refresh: {} }, async (one, two) => {
        const [user] = await database.createUsers(1);
        const seen: string[] = [];
        for (let round = 0; round < ROUNDS; round++) {
          const [here, there] = round % 2 === 0 ? [one, two] : [two, one];
          const { json } = await here.login(user!);
          seen.push(`use ${outcome(await there.get('/me', json.token))}`);
          const refreshed = await there.refresh(json.refreshToken);
          seen.push(`refresh ${outcome(refreshed)}`);
          await here.logout(refreshed.json.token);
          seen.push(`after logout ${outcome(await there.get('/me', json.token))}`);
        }
        expect(tally(seen)).toEqual({
          'use 2xx': ROUNDS,
          'refresh 2xx': ROUNDS,
          'after logout 401 token_invalid': ROUNDS,
        });
        figure(context, {
          fault: 'F25',
          on: database.label,
          pass: 'what one node committed holds on the other immediately',
          ours: `${ROUNDS} tokens: 0 rejected immediately after their login, 0 accepted immediately after their logout, 0 refreshes failed`,
        });
      }),
  );

  it('a user that was changed on one node has the new state on the other immediately', { timeout: PATIENCE_MS }, () =>
    withApps(database, {}, async (one, two) => {
      const users = await database.createUsers(ROUNDS / 3);
      for (const user of users) {
        const name = randomBytes(8).toString('hex');
        const { id } = await one.call<{ id: string }>('users', 'create', name, null);
        expect(outcome(await two.login(id))).toBe('2xx');
        await one.call('users', 'setActive', user, false);
        expect(outcome(await two.login(user))).toBe('401 credentials_invalid');
      }
    }),
  );

  it('six hundred logins of twenty users all succeed', { timeout: PATIENCE_MS }, (context) =>
    withApps(database, { timeout: '2s', limit: { perUser: 5, policy: 'evict' } }, async (one, two) => {
      const users = await database.createUsers(20);
      const statuses: number[] = [];
      const started = performance.now();
      await forEach(users, 4, async (user) => {
        statuses.push(...(await crowd(30, [one, two], 'logIn', user)).map(({ status }) => status));
        expect(await database.count(user)).toEqual({ access: 5 });
      });
      const passedMs = performance.now() - started;
      expect(tally(statuses)).toEqual({ 200: 600 });
      figure(context, {
        fault: 'R22',
        on: database.label,
        pass: '600 of 600 logins on two nodes succeed',
        ours: `600 × 200, 0 × 503 in ${(passedMs / 1000).toFixed(1)} s; each user has exactly the 5 devices of the limit`,
      });
    }),
  );

  it('a node that is cut off from the others answers 503, and never an older state', { timeout: PATIENCE_MS }, () =>
    withApps(database, { timeout: '1s' }, async (one, two) => {
      const [user] = await database.createUsers(1);
      const { token } = (await one.login(user!)).json;
      expect(outcome(await one.get('/me', token))).toBe('2xx');
      const isolate = (value: 0 | 1) =>
        ask(cluster.nodes[0]!, `SET GLOBAL wsrep_provider_options = 'gmcast.isolate=${value}'`);
      await isolate(1);
      try {
        // The other two nodes answer 503 until they have given the first one up. Such a logout may be committed all the same.
        let logout: Answer;
        do logout = await two.logout(token);
        while (logout.status === 503);
        expect(['2xx', '401 token_invalid']).toContain(outcome(logout));
        const answers = [];
        for (let round = 0; round < 5; round++) answers.push(await one.get('/me', token), await one.login(user!));
        expect(tally(answers.map(outcome))).toEqual({ '503 unavailable': 10 });
      } finally {
        await isolate(0);
      }
      await untilAnswered(() => one.login(user!));
      expect(outcome(await one.get('/me', token))).toBe('401 token_invalid');
    }),
  );

  describe.each(Object.entries(ALL_RACES))('%s', (_, race) => race(database, RACES));

  describe('Behind haproxy, a node that is killed under load', () => {
    let proxy: HaProxy;
    const behind = new SharedDatabase('mariadb', () => behindProxy(), 'Galera');

    /** Each application has a node of its own, and another one for the time without it. */
    async function behindProxy(): Promise<TestDatabase> {
      const created = await cluster.createDatabase();
      const nodes = created.nodes!.map((node, index) => ({
        url: Object.assign(new URL(node.url), { port: String(proxy.ports[index]) }).href,
      }));
      return { ...created, nodes };
    }

    beforeAll(async () => {
      const [first, second, third] = cluster.nodes.map((node): Member => ({
        port: node.port,
        isUsable: () => isSynced(node),
      })) as [Member, Member, Member];
      proxy = await HaProxy.start([
        [first, second, third],
        [second, first, third],
      ]);
      await behind.open();
    });
    afterAll(async () => {
      await behind.close();
      await proxy.remove();
    });

    it('causes no wrong answer, and undoes nothing', { timeout: KILLS_PATIENCE_MS }, async (context) => {
      let node: PrivateServer;
      await killNodes(context, behind, {
        kill() {
          node = cluster.nodes[Math.floor(Math.random() * 2)]!;
          return node.kill();
        },
        restore: () => node.resume(),
      });
    });
  });
});
