import { createRequire } from 'node:module';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { warnings, onEveryEnvironment, TestEnvironment } from '../fixtures/app.js';
import { AppProcess, type RemoteApp } from '../fixtures/app-process.js';
import type { Answer } from '../fixtures/http.js';
import { figure } from '../fixtures/figures.js';
import { longestMs, milliseconds, pace, sample, statuses } from '../fixtures/load.js';
import { SharedDatabase } from '../fixtures/shared-database.js';

const HELD_MS = 10_000;
const MAX_REPLY_MS = 2250;
const MAX_STALL_MS = 250;

/** Opens another connection to the file, as another process does. */
function openFile(database: SharedDatabase): { exec(sql: string): void; close(): void } {
  const Driver = createRequire(import.meta.url)(process.env.TEST_SQLITE_DRIVER ?? 'libsql');
  return new Driver((database.source.options as { database: string }).database);
}

describe('A SQLite file that another process writes for ten seconds', () => {
  const processes: AppProcess[] = [];
  const databases: SharedDatabase[] = [];
  beforeAll(async () => {
    processes.push(...(await Promise.all([AppProcess.start(), AppProcess.start()])));
    databases.push(new SharedDatabase('sqlite'), new SharedDatabase('sqlite'));
    for (const database of databases) await database.open();
  });
  afterAll(async () => {
    await Promise.all(processes.map((process) => process.stop()));
    await Promise.all(databases.map((database) => database.close()));
  });

  /** Sends guarded requests and logins while another connection holds the write lock. */
  async function underLock(process: AppProcess, database: SharedDatabase, app: RemoteApp, name: string, token: string) {
    const other = openFile(database);
    other.exec('BEGIN IMMEDIATE');
    await process.stalled();
    const held = wait(HELD_MS);
    const [reads, writes] = await Promise.all([
      pace(20, held, () => app.get('/me', token)),
      pace(1, held, () => app.login(name)),
    ]);
    other.exec('ROLLBACK');
    other.close();
    const stalledMs = await process.stalled();
    const back = await sample(() => app.login(name));
    return { reads, writes, stalledMs, back };
  }

  it('accepts every token, answers writes 503 within the time limit, and does not block the event loop', async (context) => {
    const [process, naiveProcess] = processes as [AppProcess, AppProcess];
    const [database, naiveDatabase] = databases as [SharedDatabase, SharedDatabase];
    const [app] = await database.serve([process], { timeout: '2s' }, {}, { kind: 'trusting' });
    const [naive] = await naiveDatabase.serve([naiveProcess], {}, {}, { kind: 'naive' });
    const [user] = (await database.createUsers(1)) as [string];
    const { token } = (await app!.login(user)).json;
    const naiveToken = (await naive!.login('somebody')).json.token;
    const [ours, theirs] = await Promise.all([
      underLock(process, database, app!, user, token),
      underLock(naiveProcess, naiveDatabase, naive!, 'somebody', naiveToken),
    ]);
    expect(statuses(ours.reads)).toBe(`${ours.reads.length} × 200`);
    expect(statuses(ours.writes)).toBe(`${ours.writes.length} × 503`);
    expect(longestMs(ours.writes)).toBeLessThanOrEqual(MAX_REPLY_MS);
    expect(ours.stalledMs).toBeLessThanOrEqual(MAX_STALL_MS);
    expect(ours.back.status).toBe(200);
    figure(context, {
      fault: 'F5',
      on: 'sqlite',
      pass: 'reads 200, writes 503 within 2.25 s, event loop blocked ≤ 250 ms',
      ours:
        `reads ${statuses(ours.reads)}; writes ${statuses(ours.writes)}, longest ${milliseconds(longestMs(ours.writes))}; ` +
        `blocked ${milliseconds(ours.stalledMs)}`,
      naive:
        `reads ${statuses(theirs.reads)}, longest ${milliseconds(longestMs(theirs.reads))}; writes ` +
        `${statuses(theirs.writes)}; blocked ${milliseconds(theirs.stalledMs)}`,
    });
  });

  it('without a write-ahead log does not block the event loop either while another process reads', async () => {
    const environment = new TestEnvironment('sqlite', 'express');
    await environment.open();
    const app = await environment.boot({ options: { timeout: '500ms' }, typeOrm: { enableWAL: false } });
    const { username } = await app.createUser();
    const reading = new (createRequire(import.meta.url)(process.env.TEST_SQLITE_DRIVER ?? 'libsql'))(
      (app.dataSource.options as { database: string }).database,
    );
    reading.exec('BEGIN');
    reading.prepare('SELECT * FROM auth_token').all();
    const delays = monitorEventLoopDelay({ resolution: 1 });
    delays.enable();
    // The login cannot be committed as long as the other connection reads.
    expect((await app.login(username)).status).toBe(503);
    delays.disable();
    expect(delays.max / 1e6).toBeLessThanOrEqual(MAX_STALL_MS);
    reading.exec('ROLLBACK');
    reading.close();
    expect((await app.login(username)).status).toBe(200);
    expect(await app.countTokens()).toBe(1);
    await environment.close();
  });

  it('gets a write-ahead log, unless the application sets enableWAL to false', async () => {
    for (const [enableWAL, mode] of [
      [undefined, 'wal'],
      [true, 'wal'],
      [false, 'delete'],
    ] as const) {
      const environment = new TestEnvironment('sqlite', 'express');
      await environment.open();
      const app = await environment.boot({ typeOrm: { enableWAL } });
      expect(await app.dataSource.query('PRAGMA journal_mode'), `enableWAL: ${enableWAL}`).toEqual([
        { journal_mode: mode },
      ]);
      await environment.close();
    }
  });
});

describe('A SQLite file that cannot be written', () => {
  const FAULTS = [
    [
      'read-only',
      'PRAGMA query_only = ON',
      'PRAGMA query_only = OFF',
      'SQLITE_READONLY',
      'Give the process write access',
    ],
    [
      'full',
      'PRAGMA max_page_count = 1',
      'PRAGMA max_page_count = 1073741823',
      'SQLITE_FULL',
      'Free space on the disk',
    ],
  ] as const;

  onEveryEnvironment(
    (environment) => {
      it.for(FAULTS)('because it is %s accepts every token, and the log says what to do', async (fault, context) => {
        const [name, inject, repair, code, remedy] = fault;
        const app = await environment.boot({ options: { refresh: {}, lastUsedAccuracy: 1 } });
        const { username } = await app.createUser();
        const first = (await app.login(username)).json;
        await app.dataSource.query(inject);
        warnings.length = 0;
        // The last page may still have room.
        let logins = 0;
        let answer: Answer;
        do answer = await app.login(username);
        while (answer.status === 200 && ++logins < 200);
        expect(answer).toMatchObject({ status: 503, json: { code: 'unavailable' }, headers: { 'retry-after': '1' } });
        expect([200, 503]).toContain((await app.post('/auth/refresh', { refreshToken: first.refreshToken })).status);
        for (let request = 0; request < 100; request++) {
          expect((await app.get('/me', first.token)).status, `request ${request}`).toBe(200);
        }
        await app.usesWritten();
        expect(warnings.join('\n')).toContain(code);
        expect(warnings.join('\n')).toContain(remedy);
        await app.dataSource.query(repair);
        expect((await app.login(username)).status).toBe(200);
        expect((await app.post('/auth/refresh', { refreshToken: first.refreshToken })).status).toBe(200);
        figure(context, {
          fault: 'F6',
          on: `sqlite, ${environment.adapterName}, ${name}`,
          pass: 'tokens accepted, logins 503',
          ours: '100 of 100 tokens accepted, login 503',
        });
      });
    },
    { databases: ['sqlite'] },
  );
});
