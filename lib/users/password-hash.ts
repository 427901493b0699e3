import { availableParallelism } from 'node:os';
import { Logger } from '@nestjs/common';
import { Algorithm, hash, type Options, verify } from '@node-rs/argon2';
import pLimit from 'p-limit';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';

/**
 * Default number of hashes at the same time: it leaves one processor free for requests, and one of libuv's four threads for
 * files and DNS.
 */
const DEFAULT_CONCURRENCY = Math.min(Math.max(1, availableParallelism() - 1), 3);

/** Maximum number of waiting hashes, about ten seconds of one processor: a later client would give up before its response. */
const MAX_WAITING = 500;

/** OWASP Password Storage Cheat Sheet, the first choice for Argon2id: 19 MiB of memory, 2 passes, 1 lane. */
const PARAMETERS = {
  // Argon2id. The enum is a const enum, which isolated modules cannot read.
  algorithm: 2 satisfies Algorithm.Argon2id as Algorithm,
  memoryCost: 19 * 1024,
  timeCost: 2,
  parallelism: 1,
} satisfies Options;

const COST = `$argon2id$v=19$m=${PARAMETERS.memoryCost},t=${PARAMETERS.timeCost},p=${PARAMETERS.parallelism}$`;

/**
 * The PHC strings that are verified: with less than 10 GB of memory and less than a hundred passes. A row with more could
 * block all logins.
 */
const PHC = /^\$argon2id\$v=19\$m=\d{1,7},t=\d{1,2},p=\d{1,2}\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{16,}$/;

/** A hash whose password nobody knows. It is verified if there is no hash, so that every rejected login takes equally long. */
const DUMMY_HASH = `${COST}${'A'.repeat(22)}$${'A'.repeat(43)}`;

/** Logged, without hash and user, if the stored value is not a valid hash. The client gets the response to a wrong password. */
const UNVERIFIABLE =
  'A stored password hash cannot be verified, so every password is wrong: store an Argon2id PHC string, or null for none';

const limit = pLimit(DEFAULT_CONCURRENCY);

/** Sets how many hashes are computed at the same time in this process. All applications of the process share this number. */
export function setHashConcurrency(concurrency: number): void {
  limit.concurrency = concurrency;
}

const logger = new Logger('ExpiringToken');

/** @throws ExpiringTokenException `unavailable` if too many hashes wait */
async function queued<T>(compute: () => Promise<T>): Promise<T> {
  if (limit.pendingCount >= MAX_WAITING) throw new ExpiringTokenException('unavailable');
  return limit(compute);
}

/** Hashes a password, and returns its Argon2id PHC string. */
export const hashPassword = (password: string): Promise<string> => queued(() => hash(password, PARAMETERS));

/**
 * Returns whether a password matches a hash. It computes one hash in any case, so that its duration reveals nothing.
 *
 * @param stored - the value in the user's row; null or undefined if there is no user or no password
 */
export const verifyPassword = (stored: unknown, password: string): Promise<boolean> =>
  queued(async () => {
    if (typeof stored === 'string' && PHC.test(stored)) {
      // An invalid hash throws before anything is computed.
      const matches = await verify(stored, password).catch(() => null);
      if (matches !== null) return matches;
    }
    if (stored !== null && stored !== undefined) logger.error(UNVERIFIABLE);
    await verify(DUMMY_HASH, password);
    return false;
  });

/** Whether a hash has other parameters than new hashes get. */
export const isOutdated = (stored: string): boolean => !stored.startsWith(COST);
