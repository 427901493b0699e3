import { setTimeout as wait } from 'node:timers/promises';

/**
 * Sends requests at a constant rate until the signal aborts. It does not wait for responses, so a slow server does not
 * reduce the rate.
 *
 * @returns the duration of each request in milliseconds, counted from the time when the request was due
 */
export async function sendAtConstantRate(
  perSecond: number,
  signal: AbortSignal,
  send: () => Promise<unknown>,
): Promise<number[]> {
  const durationsMs: number[] = [];
  const pending: Promise<void>[] = [];
  const failures: unknown[] = [];
  const startedMs = performance.now();
  while (!signal.aborted && failures.length === 0) {
    const dueMs = startedMs + (pending.length * 1000) / perSecond;
    const earlyMs = dueMs - performance.now();
    if (earlyMs > 0) await wait(earlyMs);
    const record = () => void durationsMs.push(performance.now() - dueMs);
    pending.push(send().then(record, (error: unknown) => void failures.push(error)));
  }
  await Promise.all(pending);
  if (failures.length > 0) throw failures[0];
  return durationsMs;
}
