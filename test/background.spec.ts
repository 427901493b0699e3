import { execFile } from 'node:child_process';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { compile } from './fixtures/compile.js';
import { onEveryDatabase } from './fixtures/app.js';

/** Longest that a process may take to start, do its work and end. */
const PATIENCE_MS = 20_000;

describe('What waits in the background', () => {
  afterEach(() => vi.useRealTimers());

  it('keeps no process alive: not the sweep, nor what is sealed, nor the windows of failed logins', async () => {
    const script = join(dirname(await compile()), 'idle.js');
    // Killed after its time, and rejected then.
    const { stdout } = await promisify(execFile)(process.execPath, [script], { timeout: PATIENCE_MS });
    expect(stdout).toBe('waiting for nothing\n');
  });

  onEveryDatabase((environment) => {
    it('is gone when the application is closed', async () => {
      // Those of the package alone: what the drivers wait for passes as ever.
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      const app = await environment.boot({ options: { refresh: {}, prune: {}, loginThrottle: {} } });
      const { refresh } = await app.tokens.logIn((await app.createUser()).id);
      await app.tokens.refresh(refresh!.plainText);
      const before = vi.getTimerCount();
      expect(before).toBeGreaterThanOrEqual(2);
      expect((await app.login('nobody')).status).toBe(401);
      // The windows of the name and of the address.
      expect(vi.getTimerCount()).toBe(before + 2);
      await app.nest.close();
      expect(vi.getTimerCount()).toBe(0);
    });
  });
});
