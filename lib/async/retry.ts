import { setTimeout as wait } from 'node:timers/promises';
import { type DriverErrorKind, classifyDriverError } from '../errors/driver-errors.js';

/** The first attempt and two retries. */
const MAX_ATTEMPTS = 3;

/**
 * Limit for the connections of the application's pool that one work finds unusable. Each is closed, so the pool has fewer of
 * them at each retry, but a new connection may be unusable too because of a setting of the server.
 */
const MAX_UNUSABLE = 20;

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
  let attempts = 0;
  let unusable = 0;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      const kind = classifyDriverError(error);
      if (!kinds.includes(kind)) throw error;
      if (kind === 'session') {
        if (++unusable > MAX_UNUSABLE) throw error;
        continue;
      }
      if (++attempts === MAX_ATTEMPTS) throw error;
    }
    await wait(Math.random() * attempts * MAX_JITTER_MS, undefined, { signal });
  }
}
