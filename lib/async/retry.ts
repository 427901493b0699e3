import { setTimeout as wait } from 'node:timers/promises';
import { type DriverErrorKind, classifyDriverError } from '../errors/driver-errors.js';

/** Tries of one thing: the first and two more. */
const MAX_ATTEMPTS = 3;

/** The next try comes within this time, at random: two that met would meet again. */
const MAX_JITTER_MS = 20;

/** Does something again after a failure that another try can get over. */
export async function retry<T>(
  work: () => Promise<T>,
  failures: readonly DriverErrorKind[],
  signal: AbortSignal,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!failures.includes(classifyDriverError(error)) || attempt === MAX_ATTEMPTS) throw error;
    }
    await wait(Math.random() * attempt * MAX_JITTER_MS, undefined, { signal });
  }
}
