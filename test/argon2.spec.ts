import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { Worker } from 'node:worker_threads';
import * as argon2 from '@node-rs/argon2';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { endIdleThreads, hash, verify } from '../lib/users/argon2.js';
import { TestEnvironment } from './fixtures/app.js';
import { compile } from './fixtures/compile.js';

const PASSWORD = 'correct horse battery staple';
const OPTIONS = { memoryCost: 1024, timeCost: 1, parallelism: 1 };
/** For a hash that is still computed when the test looks. */
const SLOW = { memoryCost: 19 * 1024, timeCost: 50, parallelism: 1 };
/** Longest time that a process may take to start, do its work and end. */
const PATIENCE_MS = 20_000;

/** The nice values of the threads of this process. */
function priorities(): number[] {
  return readdirSync('/proc/self/task').map((id) => {
    const stat = readFileSync(`/proc/self/task/${id}/stat`, 'utf8');
    // The second field, the name, can contain spaces and parentheses.
    return Number(stat.replace(/^.*\) /s, '').split(' ')[16]);
  });
}

describe('hash and verify', () => {
  /** The threads that were started, as Node announces them. */
  const threads: Worker[] = [];
  const announce = (thread: Worker) => threads.push(thread);

  beforeEach(async () => {
    await endIdleThreads();
    threads.length = 0;
    process.on('worker', announce);
  });

  afterEach(() => void process.off('worker', announce));

  it('return what @node-rs/argon2 returns', async () => {
    const stored = await hash(PASSWORD, OPTIONS);
    expect(stored).toMatch(/^\$argon2id\$v=19\$m=1024,t=1,p=1\$/);
    expect(await argon2.verify(stored, PASSWORD)).toBe(true);
    expect(await verify(stored, PASSWORD)).toBe(true);
    expect(await verify(stored, `${PASSWORD}.`)).toBe(false);
    expect(await verify(await argon2.hash(PASSWORD, OPTIONS), PASSWORD)).toBe(true);
    expect(await verify('no hash', PASSWORD)).toBeNull();
    await expect(hash(PASSWORD, { ...OPTIONS, memoryCost: 0 })).rejects.toThrow();
    expect(await verify(stored, PASSWORD)).toBe(true);
  });

  describe.runIf(process.platform === 'linux')('on Linux', () => {
    it('compute in a thread of lower priority than the others, which then waits for the next call', async () => {
      const own = getPriority();
      // 19 is the lowest priority.
      const nice = Math.min(own + 10, 19);
      const before = priorities();
      const stored = await hash(PASSWORD, OPTIONS);
      const isLow = (priority: number) => priority === nice;
      expect(priorities().filter(isLow)).toHaveLength(before.filter(isLow).length + 1);
      expect(getPriority()).toBe(own);
      await verify(stored, PASSWORD);
      expect(threads).toHaveLength(1);
    });

    it('return the result although a thread ends, and start another one', async () => {
      const stored = await hash(PASSWORD, OPTIONS);
      const slow = hash(PASSWORD, SLOW);
      await threads[0]!.terminate();
      expect(await slow).toContain('t=50');
      expect(await verify(stored, PASSWORD)).toBe(true);
      expect(threads).toHaveLength(2);
      // One that waits is replaced, too.
      await threads[1]!.terminate();
      expect(await verify(stored, PASSWORD)).toBe(true);
      expect(threads).toHaveLength(3);
    });

    it('start as many threads as hashes are computed at the same time', async () => {
      await Promise.all([hash(PASSWORD, OPTIONS), hash(PASSWORD, OPTIONS)]);
      await Promise.all([hash(PASSWORD, OPTIONS), hash(PASSWORD, OPTIONS)]);
      expect(threads).toHaveLength(2);
    });

    it('leave no thread when the application is closed', async () => {
      const environment = new TestEnvironment('sqlite', 'express');
      await environment.open();
      const app = await environment.boot();
      await app.login('nobody');
      expect(threads).toHaveLength(1);
      const ended = once(threads[0]!, 'exit');
      await app.nest.close();
      await ended;
      await environment.close();
    });
  });
});

describe('A process', () => {
  const run = promisify(execFile);
  const program = async (...options: string[]) => {
    const script = join(dirname(await compile()), 'hash.js');
    // The process is killed after this time, and the promise is rejected.
    return run(process.execPath, [...options, script], { timeout: PATIENCE_MS });
  };

  it('that waits for a hash does not end before, and ends afterwards', async () => {
    expect((await program()).stdout).toBe('true false\n');
  });

  it('without the permission to start threads computes the same hashes', async () => {
    const permission = process.allowedNodeEnvironmentFlags.has('--permission')
      ? '--permission'
      : '--experimental-permission';
    const { stdout } = await program('--no-warnings', permission, '--allow-addons', '--allow-fs-read=*');
    expect(stdout).toMatch(/no thread can start: .*\ntrue false\n$/s);
  });

  it('runs no code of its options in a thread', async () => {
    const hook = 'data:text/javascript,process.stdout.write("hook ")';
    expect((await program('--import', hook)).stdout).toBe('hook true false\n');
  });
});
