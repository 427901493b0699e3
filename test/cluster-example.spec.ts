import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { DataSourceOptions } from 'typeorm';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { ProcessStatus } from '../examples/cluster/report.js';
import { DEMO } from '../sample-app/demo-user.js';
import { compile } from './fixtures/compile.js';
import { createDatabase, isMissing, SERVERS, type TestDatabase } from './fixtures/databases.js';
import { bearer, request, type RequestOptions } from './fixtures/http.js';
import { capture } from './fixtures/captured-output.js';

/** Shorter than the lifetime of a cached token, and long enough for a slow machine. */
const SOON = { timeout: 5000, interval: 20 };

/** A process starts in three seconds if it has a core for itself. */
const STARTED = { timeout: 45_000, interval: 100 };

/** Starts the primary process, as `npm run sample:cluster` does. */
async function start(environment: NodeJS.ProcessEnv): Promise<ChildProcess> {
  const main = await compile('examples/cluster/main.ts');
  const primary = spawn(process.execPath, [main], { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  for (const output of [primary.stdout, primary.stderr]) output.on('data', (chunk) => capture(String(chunk)));
  return primary;
}

const isRunning = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

describe.skipIf(isMissing('postgres') || isMissing('redis'))(
  'The sample application in four processes, on postgres and redis',
  () => {
    let database: TestDatabase;
    let primary: ChildProcess;
    let origin: string;

    const send = (path: string, options?: RequestOptions) => request(origin, path, options);
    const notes = async (token: string) => (await send('/notes', { headers: bearer(token) })).status;
    const crowd = (token: string) => Promise.all(Array.from({ length: 12 }, () => notes(token)));
    const logIn = async (): Promise<string> => (await send('/auth/login', { method: 'POST', body: DEMO })).json.token;
    const status = async (timeoutMs?: number): Promise<ProcessStatus[]> =>
      (await send('/status.json', { timeoutMs })).json.processes;

    /** Presents a token until all processes have cached it. */
    const untilCached = (token: string) =>
      vi.waitFor(async () => {
        const before = await status();
        expect(new Set(await crowd(token))).toEqual(new Set([200]));
        const after = await status();
        for (const [index, { cacheHits }] of after.entries()) {
          expect(cacheHits, `process ${index}`).toBeGreaterThan(before[index]!.cacheHits);
        }
      }, SOON);

    beforeAll(async () => {
      database = await createDatabase('postgres');
      const { url: DATABASE_URL } = database.options as DataSourceOptions & { url: string };
      primary = await start({ ...process.env, DATABASE_URL, REDIS_URL: SERVERS.redis, PORT: '0' });
      const [line] = (await once(createInterface(primary.stdout!), 'line')) as [string];
      origin = `http://127.0.0.1:${/localhost:(\d+)/.exec(line)![1]}`;
      await vi.waitFor(async () => expect(await status()).toHaveLength(4), SOON);
    });

    afterAll(async () => {
      primary.kill('SIGKILL');
      await database.drop();
    });

    it.each([
      [
        { DATABASE_URL: 'postgres://127.0.0.1:1/notes' },
        [/DATABASE_URL .*\(no server answers at 127\.0\.0\.1, port 1\)/, /REDIS_URL .*\(it is not set\)/],
      ],
      [
        { REDIS_URL: 'http://cache' },
        [/DATABASE_URL .*\(it is not set\)/, /REDIS_URL .*\(it must start with redis:\/\/, rediss:\/\/\)/],
      ],
      [{}, [/DATABASE_URL .*\(it is not set\)/, /REDIS_URL .*\(it is not set\)/]],
    ])(
      'with only %j stops with one message that names every missing setting and server',
      async (settings, problems) => {
        const stopped = await start({ ...process.env, DATABASE_URL: '', REDIS_URL: '', ...settings });
        const message = once(stopped.stderr!, 'data');
        expect(await once(stopped, 'exit')).toEqual([1, null]);
        for (const problem of problems) expect(String(await message), String(problem)).toMatch(problem);
      },
    );

    it('a logout in one revokes the token in all, and the status shows how long it took', async () => {
      const token = await logIn();
      await untilCached(token);
      const before = await status();
      await send('/auth/logout', { method: 'POST', headers: bearer(token) });
      await vi.waitFor(async () => expect(new Set(await crowd(token))).toEqual(new Set([401])), SOON);
      await vi.waitFor(async () => {
        for (const [index, now] of (await status()).entries()) {
          expect(now.revocations, `process ${index}`).toBeGreaterThan(before[index]!.revocations);
          expect(now.lookUps, `process ${index}`).toBeGreaterThan(before[index]!.lookUps);
          expect(now.lastDelayMs, `process ${index}`).toBeGreaterThan(0);
          expect(now.lastDelayMs, `process ${index}`).toBeLessThan(SOON.timeout);
        }
      }, SOON);
    });

    it('if one is killed, the others answer, and a new one replaces it', async () => {
      const token = await logIn();
      const [killed] = await status();
      process.kill(killed!.pid, 'SIGKILL');
      // A connection to the killed process is lost.
      await vi.waitFor(async () => expect((await status(500))[0]!.pid).not.toBe(killed!.pid), SOON);
      expect(new Set(await crowd(token))).toEqual(new Set([200]));
      await vi.waitFor(async () => {
        await crowd(token);
        expect((await status())[0]!.requests).toBeGreaterThan(0);
      }, STARTED);
    }, 60_000);

    it('shows the status on a page that runs only its own script', async () => {
      const { status: code, headers, text } = await send('/status');
      expect(code).toBe(200);
      expect(headers['content-security-policy']).toMatch(/^default-src 'none'; script-src 'self'; style-src 'self';/);
      expect(headers['content-security-policy']).not.toContain('unsafe');
      const files = [...text.matchAll(/(?:href|src)="([^"]+)"/g)].map(([, file]) => file!);
      expect(files).toEqual(expect.arrayContaining(['/page/page.css', '/status.css', '/status.js', '/']));
      for (const file of files) expect((await send(file)).status, file).toBe(200);
      expect(text).not.toMatch(/ style=|<style|<script>/);
      const me = await send('/me', { headers: bearer(await logIn()) });
      expect(me.json).toMatchObject({ username: DEMO.username, isInCluster: true });
    });

    it('ends with all of its processes', async () => {
      const pids = (await status()).map(({ pid }) => pid);
      expect(pids.filter(isRunning)).toHaveLength(4);
      primary.kill('SIGTERM');
      expect(await once(primary, 'exit')).toEqual([0, null]);
      expect(pids.filter(isRunning)).toEqual([]);
    });
  },
);
