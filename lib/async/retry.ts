import { setTimeout as wait } from 'node:timers/promises';
import { type DriverErrorKind, classifyDriverError } from '../errors/driver-errors.js';

/** The first attempt and two retries. */
const MAX_ATTEMPTS = 3;

/** Each retry waits for a random time, up to this per earlier attempt: two conflicting transactions would otherwise meet again. */
const MAX_JITTER_MS = 20;

/**
 * Runs work, and retries it after errors of certain kinds.
 *
 * @param kinds - the kinds of errors after which a retry can succeed
 * @param signal - ends the wait before a retry
 */
export async function retry<T>(
  work: () => Promise<T>,
  kinds: readonly DriverErrorKind[],
  signal: AbortSignal,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!kinds.includes(classifyDriverError(error)) || attempt === MAX_ATTEMPTS) throw error;
    }
    await wait(Math.random() * attempt * MAX_JITTER_MS, undefined, { signal });
  }
}
