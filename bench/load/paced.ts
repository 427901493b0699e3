import { setTimeout as wait } from 'node:timers/promises';

/**
 * Asks so many times a second, whether answers have come or not, until told to end.
 *
 * @returns how long each answer took, in milliseconds from when it was due to be asked for
 */
export async function paced(perSecond: number, until: AbortSignal, ask: () => Promise<unknown>): Promise<number[]> {
  const durationsMs: number[] = [];
  const pending: Promise<void>[] = [];
  const failures: unknown[] = [];
  const startedMs = performance.now();
  while (!until.aborted && failures.length === 0) {
    const dueMs = startedMs + (pending.length * 1000) / perSecond;
    const earlyMs = dueMs - performance.now();
    if (earlyMs > 0) await wait(earlyMs);
    const note = () => void durationsMs.push(performance.now() - dueMs);
    pending.push(ask().then(note, (error: unknown) => void failures.push(error)));
  }
  await Promise.all(pending);
  if (failures.length > 0) throw failures[0];
  return durationsMs;
}
