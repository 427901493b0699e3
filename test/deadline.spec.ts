import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { withTimeout } from '../lib/async/with-timeout.js';

/** Blocks the event loop. */
function block(forMs: number): void {
  const until = performance.now() + forMs;
  while (performance.now() < until);
}

const never = () => new Promise<never>(() => undefined);

describe('A time limit', () => {
  it('ends work that does not end, and reports the timeout', async () => {
    let receivedSignal: AbortSignal | undefined;
    const started = performance.now();
    const hung = withTimeout(50, (signal) => {
      receivedSignal = signal;
      return never();
    });
    await expect(hung).rejects.toThrow('no answer from the database within 50 ms');
    expect(performance.now() - started).toBeGreaterThanOrEqual(49);
    expect(receivedSignal!.aborted).toBe(true);
  });

  it('does not count time in which the process was blocked, so that a response that arrived meanwhile is read', async () => {
    const answer = withTimeout(50, async () => {
      await nextTurn();
      await nextTurn();
      await nextTurn();
      return 'read';
    });
    block(300);
    expect(await answer).toBe('read');
  });

  it('still ends in a process that is always blocked', async () => {
    const started = performance.now();
    const ended = withTimeout(100, never).then(null, () => performance.now() - started);
    for (let round = 0; round < 15; round++) {
      block(150);
      await nextTurn();
    }
    expect(await ended).toBeLessThan(1500);
  });
});
