import { afterEach, describe, expect, it, vi } from 'vitest';
import { FairQueue, type QueuedTask } from '../lib/async/fair-queue.js';

afterEach(() => vi.restoreAllMocks());

const MINUTE_MS = 60_000;
const { signal } = new AbortController();
const taskOf = (task: Partial<QueuedTask> = {}): QueuedTask => ({
  isUrgent: false,
  principal: 'a',
  timeoutMs: MINUTE_MS,
  signal,
  ...task,
});

/** Queues a task of the key `user` that notes its name when it starts. */
function noting(queue: FairQueue, started: string[], name: string, task: Partial<QueuedTask> = {}): Promise<void> {
  return queue.run('user', taskOf(task), async () => {
    started.push(name);
  });
}

/** Occupies the queue of a key; returns a function that ends this. */
function occupy(queue: FairQueue, key = 'user'): () => void {
  let end!: () => void;
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  void queue.run(key, taskOf(), () => ended);
  return end;
}

describe('FairQueue', () => {
  it('runs one task of a key at a time, in order, and those of other keys meanwhile', async () => {
    const queue = new FairQueue();
    const started: string[] = [];
    const end = occupy(queue);
    const waiting = Promise.all(['first', 'second', 'third'].map((name) => noting(queue, started, name)));
    await queue.run('another user', taskOf(), async () => void started.push('another user'));
    expect(started).toEqual(['another user']);
    end();
    await waiting;
    expect(started).toEqual(['another user', 'first', 'second', 'third']);
  });

  it('runs urgent tasks first', async () => {
    const queue = new FairQueue();
    const started: string[] = [];
    const end = occupy(queue);
    const usual = ['1', '2', '3'].map((name) => noting(queue, started, name));
    const urgent = ['urgent 1', 'urgent 2'].map((name) => noting(queue, started, name, { isUrgent: true }));
    end();
    await Promise.all([...usual, ...urgent]);
    expect(started).toEqual(['urgent 1', 'urgent 2', '1', '2', '3']);
  });

  it.each([true, false])('runs the tasks of different principals in turn, urgent: %s', async (isUrgent) => {
    const queue = new FairQueue();
    const started: string[] = [];
    const end = occupy(queue);
    const flood = ['a1', 'a2', 'a3', 'a4'].map((name) => noting(queue, started, name, { isUrgent, principal: 'a' }));
    const others = ['b1', 'b2'].map((name) => noting(queue, started, name, { isUrgent, principal: 'b' }));
    end();
    await Promise.all([...flood, ...others]);
    expect(started).toEqual(['a1', 'b1', 'a2', 'b2', 'a3', 'a4']);
  });

  it('goes on after a task that failed, and passes its error on', async () => {
    const queue = new FairQueue();
    const started: string[] = [];
    const failing = queue.run('user', taskOf(), () => Promise.reject(new Error('failed')));
    const next = noting(queue, started, 'next');
    await expect(failing).rejects.toThrow('failed');
    await next;
    expect(started).toEqual(['next']);
  });

  it('counts what waits, and neither what runs nor what was aborted', async () => {
    const queue = new FairQueue();
    const started: string[] = [];
    const aborting = new AbortController();
    const end = occupy(queue);
    expect(queue.waiting('user', false)).toBe(0);
    const tasks = [
      noting(queue, started, 'a'),
      noting(queue, started, 'urgent', { isUrgent: true }),
      noting(queue, started, 'b', { principal: 'b' }),
    ];
    const aborted = noting(queue, started, 'aborted', { signal: aborting.signal });
    expect(queue.waiting('user', false)).toBe(3);
    aborting.abort();
    expect(queue.waiting('user', false)).toBe(2);
    expect(queue.waiting('user', true)).toBe(1);
    expect(queue.waiting('user', false, 'a')).toBe(1);
    expect(queue.waiting('user', true, 'a')).toBe(1);
    expect(queue.waiting('user', false, 'b')).toBe(1);
    expect(queue.waiting('another user', false)).toBe(0);
    end();
    await Promise.all([...tasks, expect(aborted).rejects.toThrow()]);
    expect(started).toEqual(['urgent', 'a', 'b']);
    expect(queue.waiting('user', false)).toBe(0);
  });

  it.each([
    ['more than twice the average duration', 200, 61, true],
    ['less than twice the average duration', 200, 59, false],
    ['half of its time, if twice the average is longer', 100, 51, true],
    ['less than half of its time', 100, 50, false],
  ])('starts a task only if enough time is left: %s', async (_, timeoutMs, leftMs, isStarted) => {
    let nowMs = 0;
    vi.spyOn(performance, 'now').mockImplementation(() => nowMs);
    const queue = new FairQueue();
    const started: string[] = [];
    for (let round = 0; round < 100; round++) await queue.run('slow', taskOf(), async () => void (nowMs += 30));
    const end = occupy(queue);
    const task = noting(queue, started, 'task', { timeoutMs });
    const patient = noting(queue, started, 'patient');
    // The running task starts, and takes as long as the average.
    nowMs += timeoutMs - leftMs - 30;
    await new Promise(setImmediate);
    nowMs += 30;
    end();
    if (isStarted) await task;
    else await expect(task).rejects.toThrow('too many changes of one user wait');
    await patient;
    expect(started).toEqual(isStarted ? ['task', 'patient'] : ['patient']);
    await noting(queue, started, 'nothing waits before it', { timeoutMs: 1 });
    expect(started.at(-1)).toBe('nothing waits before it');
  });
});
