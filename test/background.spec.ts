import { execFile } from 'node:child_process';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { compile } from './fixtures/compile.js';
import { onEveryDatabase } from './fixtures/app.js';

/** Longest time that a process may take to start, do its work and end. */
const PATIENCE_MS = 20_000;

describe('Background timers', () => {
  afterEach(() => vi.useRealTimers());

  it('keep no process alive: not those of pruning, sealed refresh responses or failed logins', async () => {
    const script = join(dirname(await compile()), 'idle.js');
    // The process is killed after this time, and the promise is rejected.
    const { stdout } = await promisify(execFile)(process.execPath, [script], { timeout: PATIENCE_MS });
    expect(stdout).toBe('waiting for nothing\n');
  });

  onEveryDatabase((environment) => {
    it('end when the application is closed', async () => {
      // Only timers of the package are counted: drivers have timers of their own.
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      const app = await environment.boot({ options: { refresh: {}, prune: {}, loginThrottle: {} } });
      const { refresh } = await app.tokens.logIn((await app.createUser()).id);
      await app.tokens.refresh(refresh!.plainText);
      const before = vi.getTimerCount();
      expect(before).toBeGreaterThanOrEqual(2);
      expect((await app.login('nobody')).status).toBe(401);
      // One window for the name, one for the address.
      expect(vi.getTimerCount()).toBe(before + 2);
      await app.nest.close();
      expect(vi.getTimerCount()).toBe(0);
    });
  });
});
