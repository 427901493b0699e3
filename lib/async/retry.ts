import { setTimeout as wait } from 'node:timers/promises';
import { type Failure, failureOf } from '../errors/driver-errors.js';

/** Tries of one thing: the first and two more. */
const ATTEMPTS = 3;

/** The next try comes within this time, at random: two that met would meet again. */
const JITTER_MS = 20;

/** Does something again after a failure that another try can get over. */
export async function retrying<T>(
  work: () => Promise<T>,
  failures: readonly Failure[],
  signal: AbortSignal,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!failures.includes(failureOf(error)) || attempt === ATTEMPTS) throw error;
    }
    await wait(Math.random() * attempt * JITTER_MS, undefined, { signal });
  }
}
