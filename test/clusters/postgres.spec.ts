import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { killNodes, KILLS_PATIENCE_MS } from '../fixtures/clusters/node-kills.js';
import { KEEPS_PREPARED_STATEMENTS, PgBouncer, pgbouncerVersion } from '../fixtures/clusters/pgbouncer.js';
import { PostgresCluster } from '../fixtures/clusters/postgres-cluster.js';
import type { TestDatabase } from '../fixtures/databases.js';
import { figure } from '../fixtures/figures.js';
import { extent, PATIENCE_MS, tally } from '../fixtures/iterations.js';
import { ALL_RACES } from '../fixtures/races/all.races.js';
import { outcome, processes, startProcesses, withApps } from '../fixtures/races/two-processes.js';
import { SharedDatabase } from '../fixtures/shared-database.js';
import { TcpProxy } from '../fixtures/tcp-proxy.js';

/*
 * A primary with a synchronous standby behind haproxy, and the same primary behind PgBouncer.
 */

const RACES = extent({ usual: 4, soak: 1000 });
const ROUNDS = extent({ usual: 100, soak: 2000 });

let cluster: PostgresCluster;
const database = new SharedDatabase('postgres', () => cluster.createDatabase(), 'PostgreSQL');

describe.skipIf(!inject('engines').includes('postgres'))('On PostgreSQL with a synchronous standby', () => {
  beforeAll(async () => {
    cluster = await PostgresCluster.start();
    await database.open();
  });
  afterAll(async () => {
    await database.close();
    await cluster.remove();
  });
  startProcesses();

  it(
    'a primary that is killed under load causes no wrong answer, and undoes nothing',
    { timeout: KILLS_PATIENCE_MS },
    (context) =>
      killNodes(context, database, {
        async kill() {
          await cluster.primary.kill();
          await cluster.promote();
        },
        restore: () => cluster.follow(),
      }),
  );

  it(
    'nothing is read from the standby of `replication`, which applies nothing',
    { timeout: PATIENCE_MS },
    async (context) => {
      const [user] = await database.createUsers(1);
      await cluster.standby.query('SELECT pg_wal_replay_pause()');
      const { pathname } = new URL((database.source.options as { url: string }).url);
      const standby = Object.assign(new URL(cluster.standby.url), { pathname }).href;
      const replication = {
        master: { url: (database.source.options as { url: string }).url },
        slaves: [{ url: standby }],
      };
      const [one, two] = await database.serve(processes, { refresh: {} }, { url: undefined, replication });
      const seen: string[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        const { json } = await one!.login(user!);
        seen.push(`use ${outcome(await two!.get('/me', json.token))}`);
        const refreshed = await two!.refresh(json.refreshToken);
        seen.push(`refresh ${outcome(refreshed)}`);
        await one!.logout(refreshed.json.token);
        seen.push(`after logout ${outcome(await two!.get('/me', json.token))}`);
      }
      expect(tally(seen)).toEqual({
        'use 2xx': ROUNDS,
        'refresh 2xx': ROUNDS,
        'after logout 401 token_invalid': ROUNDS,
      });
      await Promise.all([one!.close(), two!.close()]);
      await cluster.standby.query('SELECT pg_wal_replay_resume()');
      figure(context, {
        fault: 'F25',
        on: 'PostgreSQL, standby',
        pass: 'nothing is read from a standby whose replay is paused',
        ours: `${ROUNDS} tokens: 0 rejected immediately after their login, 0 accepted after their logout`,
      });
    },
  );

  it('connections that lead to a standby are closed, and nothing is read there', { timeout: PATIENCE_MS }, async () => {
    const proxy = await TcpProxy.to(cluster.primary.port);
    const url = Object.assign(new URL((database.source.options as { url: string }).url), {
      port: String(proxy.port),
    }).href;
    const [app] = await database.serve([processes[0]!], { timeout: '2s' }, { url });
    const [user] = await database.createUsers(1);
    const { token } = (await app!.login(user!)).json;
    await cluster.standby.query('SELECT pg_wal_replay_pause()');
    // The primary restarts as a standby at its address: the pool has connections to a standby afterwards.
    proxy.retarget(cluster.standby.port);
    const answers = await Promise.all(
      Array.from({ length: 12 }, () => [app!.get('/me', token), app!.login(user!)]).flat(),
    );
    expect(tally(answers.map(({ status }) => status))).toEqual({ 503: 24 });
    proxy.retarget(cluster.primary.port, { keep: true });
    const later = await Promise.all(
      Array.from({ length: 12 }, () => [app!.get('/me', token), app!.login(user!)]).flat(),
    );
    expect(tally(later.map(({ status }) => status))).toEqual({ 200: 24 });
    await app!.close();
    await proxy.close();
    await cluster.standby.query('SELECT pg_wal_replay_resume()');
  });

  describe.each(Object.entries(ALL_RACES))('%s', (_, race) => race(database, RACES));

  describe.skipIf(!inject('engines').includes('pgbouncer'))('behind PgBouncer in transaction mode', () => {
    let pooler: PgBouncer;
    const label = () => `PgBouncer ${pgbouncerVersion()}`;
    const pooled = new SharedDatabase(
      'postgres',
      () => behindPooler(),
      inject('engines').includes('pgbouncer') ? label() : '',
    );

    /** The tests look at the server itself. */
    async function behindPooler(): Promise<TestDatabase> {
      const created = await cluster.createDatabase();
      const { url } = created.options as { url: string };
      return { ...created, nodes: [{ url: Object.assign(new URL(url), { port: String(pooler.port) }).href }] };
    }

    beforeAll(async () => {
      const keeps = pgbouncerVersion() >= KEEPS_PREPARED_STATEMENTS;
      pooler = await PgBouncer.start(cluster.primary.port, keeps ? { max_prepared_statements: 200 } : {});
      await pooled.open();
    });
    afterAll(async () => {
      await pooled.close();
      await pooler.remove();
    });

    describe.each(Object.entries(ALL_RACES))('%s', (_, race) => race(pooled, RACES));

    it(
      'look-ups and logins of many clients succeed, and statements stay prepared if the pooler keeps them',
      { timeout: PATIENCE_MS },
      (context) =>
        withApps(pooled, {}, async (one, two) => {
          const users = await pooled.createUsers(40);
          const statuses: number[] = [];
          await Promise.all(
            users.map(async (user, index) => {
              const app = index % 2 === 0 ? one : two;
              for (let round = 0; round < 5; round++) {
                const login = await app.login(user);
                statuses.push(login.status);
                for (let use = 0; use < 20; use++) statuses.push((await app.get('/me', login.json.token)).status);
              }
            }),
          );
          expect(tally(statuses)).toEqual({ 200: 40 * 5 * 21 });
          const warnings = processes.map((process) => process.logged(/keeps no prepared statements/));
          // Each of the applications of these specs can give up prepared statements, once.
          if (pgbouncerVersion() >= KEEPS_PREPARED_STATEMENTS) expect(warnings).toEqual([0, 0]);
          figure(context, {
            fault: 'R22',
            on: pooled.label,
            pass: '200 logins and 4,000 look-ups without an error',
            ours: `${statuses.length} × 200, ${warnings.join(' and ')} warnings about prepared statements`,
          });
        }),
    );
  });
});
