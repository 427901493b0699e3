import { setImmediate as nextTurn, setTimeout as wait } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { TimeBudget, within } from '../lib/deadline.js';

/** Keeps the event loop busy. */
function block(forMs: number): void {
  const until = performance.now() + forMs;
  while (performance.now() < until);
}

const never = () => new Promise<never>(() => undefined);

describe('A time limit', () => {
  it('ends what does not end by itself, and tells it', async () => {
    let told: AbortSignal | undefined;
    const started = performance.now();
    const hung = within(50, (signal) => {
      told = signal;
      return never();
    });
    await expect(hung).rejects.toThrow('no answer from the database within 50 ms');
    expect(performance.now() - started).toBeGreaterThanOrEqual(49);
    expect(told!.aborted).toBe(true);
  });

  it('does not count that the process stood still, so that an answer which came meanwhile is read', async () => {
    const answer = within(50, async () => {
      await nextTurn();
      await nextTurn();
      await nextTurn();
      return 'read';
    });
    block(300);
    expect(await answer).toBe('read');
  });

  it('ends all the same in a process that always stands still', async () => {
    const started = performance.now();
    const ended = within(100, never).then(null, () => performance.now() - started);
    for (let round = 0; round < 15; round++) {
      block(150);
      await nextTurn();
    }
    expect(await ended).toBeLessThan(1500);
  });
});

describe('A time limit for several things', () => {
  it('leaves the next one what the first did not take', async () => {
    const budget = new TimeBudget(300);
    expect(await budget.within(() => wait(150, 'first'))).toBe('first');
    const began = performance.now();
    await expect(budget.within(never)).rejects.toThrow('no answer from the database within 1');
    expect(performance.now() - began).toBeLessThan(250);
  });

  it('does not count that the process stood still', async () => {
    const budget = new TimeBudget(100);
    const answer = budget.within(nextTurn);
    block(300);
    await answer;
    const began = performance.now();
    await expect(budget.within(never)).rejects.toThrow('within 100 ms');
    expect(performance.now() - began).toBeGreaterThan(95);
  });
});
