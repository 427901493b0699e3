import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { TurnQueue } from '../lib/async/turn-queue.js';

describe('TurnQueue', () => {
  /** Starts tasks at once; returns how many have run after each turn, until all have. */
  async function run(count: number): Promise<number[]> {
    const queue = new TurnQueue();
    const order: number[] = [];
    for (let task = 0; task < count; task++) void queue.next().then(() => order.push(task));
    const after = [order.length];
    while (order.length < count) {
      await nextTurn();
      after.push(order.length);
    }
    expect(order).toEqual(order.toSorted((one, other) => one - other));
    return after;
  }

  it('runs one task in each turn, in the order of their arrival', async () => {
    expect(await run(3)).toEqual([0, 1, 2, 3]);
    expect(await run(200)).toHaveLength(201);
  });

  it('runs several tasks of a long queue in a turn, so that the wait is bounded', async () => {
    const after = await run(10_000);
    expect(after[1]).toBe(40);
    expect(after.length).toBeLessThan(1500);
  });

  it('starts again when it was empty', async () => {
    const queue = new TurnQueue();
    await queue.next();
    await queue.next();
  });
});
