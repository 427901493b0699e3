import { availableParallelism } from 'node:os';
import { Algorithm, hash, type Options, verify } from '@node-rs/argon2';
import pLimit from 'p-limit';
import { ExpiringTokenException } from '../expiring-token.exception.js';

/** How many hashes run at once: one processor stays free for requests, and one of libuv's four threads for files and names. */
const CONCURRENT_HASHES = Math.min(Math.max(1, availableParallelism() - 1), 3);

/** How many more may wait, some ten seconds of one processor: who comes later would have gone before the answer. */
const WAITING_HASHES = 500;

/** OWASP Password Storage Cheat Sheet, the first choice for Argon2id: 19 MiB of memory, 2 passes, 1 lane. */
const PARAMETERS = {
  // A const enum, which isolated modules cannot read; 2 is Argon2id.
  algorithm: 2 satisfies Algorithm.Argon2id as Algorithm,
  memoryCost: 19 * 1024,
  timeCost: 2,
  parallelism: 1,
} satisfies Options;

const COST = `$argon2id$v=19$m=${PARAMETERS.memoryCost},t=${PARAMETERS.timeCost},p=${PARAMETERS.parallelism}$`;

/** The PHC strings that are verified; anything else in the database, null too, is no password. */
const PHC = /^\$argon2id\$v=19\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+$/;

/** A hash of no known password: where there is none to verify, this one is, so that every refusal costs one hash. */
const NO_PASSWORD = `${COST}${'A'.repeat(22)}$${'A'.repeat(43)}`;

const turn = pLimit(CONCURRENT_HASHES);

/** @throws ExpiringTokenException `unavailable` when too many wait */
async function inTurn<T>(compute: () => Promise<T>): Promise<T> {
  if (turn.pendingCount >= WAITING_HASHES) throw new ExpiringTokenException('unavailable');
  return turn(compute);
}

/** The Argon2id PHC string of a password. */
export const hashPassword = (password: string): Promise<string> => inTurn(() => hash(password, PARAMETERS));

/**
 * Whether the password is that of the hash, exactly as sent. Computes one hash whatever the answer.
 *
 * @param stored - what the user's row holds; null or undefined where there is no user or no password
 */
export async function verifyPassword(stored: unknown, password: string): Promise<boolean> {
  const known = typeof stored === 'string' && PHC.test(stored);
  return (await inTurn(() => verify(known ? stored : NO_PASSWORD, password))) && known;
}

/** Whether a hash was made with other parameters than today's. */
export const isOutdated = (stored: string): boolean => !stored.startsWith(COST);
