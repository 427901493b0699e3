import { setTimeout as wait } from 'node:timers/promises';
import { type DriverErrorKind, classifyDriverError } from '../errors/driver-errors.js';

/** The first attempt and two retries. */
const USUAL_ATTEMPTS = 3;

/** The maximum number of attempts by the kind of error, if it is not {@link USUAL_ATTEMPTS}. The signal ends all attempts. */
const MAX_ATTEMPTS: Partial<Record<DriverErrorKind, number>> = {
  // Two nodes of a cluster can change one row at the same time. One of them learns it at its commit, and when it retries, it may
  // meet the next change of the other one.
  conflict: 50,
  // Each attempt has waited for a while already.
  locked: Infinity,
  // Each unusable connection of the application's pool is closed, so the pool has fewer of them at each retry. A new connection
  // may be unusable too because of a setting of the server.
  session: 21,
};

/**
 * The delay before a retry is random, at most this for each failed attempt and never more than {@link MAX_JITTER_MS}: two conflicting
 * transactions would otherwise meet again.
 */
const JITTER_MS = 20;
const MAX_JITTER_MS = 100;

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
  const failures: Partial<Record<DriverErrorKind, number>> = {};
  for (;;) {
    let failed: number;
    try {
      return await work();
    } catch (error) {
      const kind = classifyDriverError(error);
      failed = failures[kind] = (failures[kind] ?? 0) + 1;
      if (!kinds.includes(kind) || failed >= (MAX_ATTEMPTS[kind] ?? USUAL_ATTEMPTS)) throw error;
      if (kind === 'session') continue;
    }
    await wait(Math.random() * Math.min(failed * JITTER_MS, MAX_JITTER_MS), undefined, { signal });
  }
}
