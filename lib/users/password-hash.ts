import { availableParallelism } from 'node:os';
import { Logger } from '@nestjs/common';
import { Algorithm, hash, type Options, verify } from '@node-rs/argon2';
import pLimit from 'p-limit';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';

/** How many hashes run at once by default: one processor stays free for requests, and one of libuv's four threads for files and names. */
const DEFAULT_CONCURRENCY = Math.min(Math.max(1, availableParallelism() - 1), 3);

/** How many more may wait, some ten seconds of one processor: who comes later would have gone before the answer. */
const MAX_WAITING = 500;

/** OWASP Password Storage Cheat Sheet, the first choice for Argon2id: 19 MiB of memory, 2 passes, 1 lane. */
const PARAMETERS = {
  // A const enum, which isolated modules cannot read; 2 is Argon2id.
  algorithm: 2 satisfies Algorithm.Argon2id as Algorithm,
  memoryCost: 19 * 1024,
  timeCost: 2,
  parallelism: 1,
} satisfies Options;

const COST = `$argon2id$v=19$m=${PARAMETERS.memoryCost},t=${PARAMETERS.timeCost},p=${PARAMETERS.parallelism}$`;

/**
 * The PHC strings that are verified: of less than 10 GB of memory and of less than a hundred passes, lest one row stops
 * everybody's logins.
 */
const PHC = /^\$argon2id\$v=19\$m=\d{1,7},t=\d{1,2},p=\d{1,2}\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{16,}$/;

/** A hash of no known password: where there is none to verify, this one is, so that every refusal costs one hash. */
const NO_PASSWORD = `${COST}${'A'.repeat(22)}$${'A'.repeat(43)}`;

/** A row that nobody can log in by: told without the hash and whose it is, and answered like a wrong password. */
const UNVERIFIABLE =
  'A stored password hash cannot be verified, so no password is right: store an Argon2id PHC string, or null for none';

const limit = pLimit(DEFAULT_CONCURRENCY);

/** How many hashes run at once in this process, whose threads they share: the last one who says so decides. */
export function setHashConcurrency(concurrency: number): void {
  limit.concurrency = concurrency;
}

const logger = new Logger('ExpiringToken');

/** @throws ExpiringTokenException `unavailable` when too many wait */
async function queued<T>(compute: () => Promise<T>): Promise<T> {
  if (limit.pendingCount >= MAX_WAITING) throw new ExpiringTokenException('unavailable');
  return limit(compute);
}

/** The Argon2id PHC string of a password. */
export const hashPassword = (password: string): Promise<string> => queued(() => hash(password, PARAMETERS));

/**
 * Whether the password is that of the hash, exactly as sent. Computes one hash whatever the answer.
 *
 * @param stored - what the user's row holds; null or undefined where there is no user or no password
 */
export const verifyPassword = (stored: unknown, password: string): Promise<boolean> =>
  queued(async () => {
    if (typeof stored === 'string' && PHC.test(stored)) {
      // It throws before it computes anything.
      const isRight = await verify(stored, password).catch(() => null);
      if (isRight !== null) return isRight;
    }
    if (stored !== null && stored !== undefined) logger.error(UNVERIFIABLE);
    await verify(NO_PASSWORD, password);
    return false;
  });

/** Whether a hash was made with other parameters than today's. */
export const isOutdated = (stored: string): boolean => !stored.startsWith(COST);
