import { availableParallelism } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Algorithm, Options } from '@node-rs/argon2';
import pLimit from 'p-limit';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { hash, verify } from './argon2.js';
import { checkCredential } from './credentials.js';
import { PackageLogger } from '../errors/package.logger.js';

/**
 * Default number of hashes at the same time: it leaves one processor free for requests, and, where libuv's four threads compute
 * the hashes, one of them for files and DNS.
 */
const DEFAULT_CONCURRENCY = Math.min(Math.max(1, availableParallelism() - 1), 3);

/**
 * Maximum number of waiting hashes, about ten seconds of a free processor: a later client would give up before its response. A
 * processor that is busy with requests takes longer.
 */
const MAX_WAITING = 500;

/** The parameters of a hash that its cost depends on. */
type Cost = Required<Pick<Options, 'memoryCost' | 'timeCost' | 'parallelism'>>;

/** OWASP Password Storage Cheat Sheet, the first choice for Argon2id: 19 MiB of memory, 2 passes, 1 lane. */
const COST: Cost = { memoryCost: 19 * 1024, timeCost: 2, parallelism: 1 };

// Argon2id. The enum is a const enum, which isolated modules cannot read.
const algorithm = 2 satisfies Algorithm.Argon2id as Algorithm;

/**
 * The PHC strings that are verified: with less than 10 GB of memory and less than a hundred passes. A row with more could
 * block all logins.
 */
const PHC = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,2})\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{16,}$/;

/** A hash whose password nobody knows. It is verified if there is no hash, so that every rejected login takes equally long. */
const DUMMY_HASH = `$argon2id$v=19$m=${COST.memoryCost},t=${COST.timeCost},p=${COST.parallelism}$${'A'.repeat(22)}$${'A'.repeat(43)}`;

/** Logged, without hash and user, if the stored value is not a valid hash. The client gets the response to a wrong password. */
const UNVERIFIABLE =
  'A stored password hash cannot be verified, so every password is wrong: store an Argon2id PHC string, or null for none';

const limit = pLimit(DEFAULT_CONCURRENCY);

/** Sets how many hashes are computed at the same time in this process. All applications of the process share this number. */
export function setHashConcurrency(concurrency: number): void {
  limit.concurrency = concurrency;
}

const logger = new PackageLogger();

/** Logs that a stored hash cannot be verified. */
export const logUnverifiable = (): void => logger.error(UNVERIFIABLE);

/**
 * Computes a hash as soon as fewer than the allowed number are computed.
 *
 * @throws ExpiringTokenException `unavailable` if too many hashes wait
 */
export async function queued<T>(compute: () => Promise<T>): Promise<T> {
  if (limit.pendingCount >= MAX_WAITING) throw new ExpiringTokenException('unavailable');
  return limit(compute);
}

/** Admits look-ups of users one after the other. */
const lookUps = pLimit(1);

/**
 * Waits until a user may be looked up whose password is then verified: one in each turn of the event loop, and none while hashes
 * wait. Otherwise the look-ups of many simultaneous logins would delay all other requests.
 *
 * @throws ExpiringTokenException `unavailable` if too many look-ups wait
 */
export async function lookUpTurn(): Promise<void> {
  if (lookUps.pendingCount >= MAX_WAITING) throw new ExpiringTokenException('unavailable');
  await lookUps(async () => {
    await nextTurn();
    // Its turn comes when all hashes that wait have begun.
    await limit(async () => undefined);
  });
}

/**
 * Hashes a password as the built-in store does, for a user that the application creates: Argon2id with 19 MiB of memory,
 * 2 passes and 1 lane (OWASP Password Storage Cheat Sheet). It waits in the queue of the option `hashConcurrency`. The option
 * `passwords` is not applied.
 *
 * @param password - at most 1,024 bytes, hashed exactly as given
 * @returns the PHC string for the property `password` of `typeOrmUsers`
 * @throws ExpiringTokenException `validation_failed` for an empty password, one that is too long, or one that is not
 * well-formed Unicode; `unavailable` if too many hashes wait
 * @example
 * ```ts
 * account.passwordHash = await hashPassword(password);
 * ```
 */
export async function hashPassword(password: string): Promise<string> {
  return hashWith(COST, checkCredential('password', password));
}

/**
 * Returns whether a password matches a hash. It computes one hash in any case, so that its duration reveals nothing.
 *
 * @param stored - the value in the user's row; null or undefined if there is no user or no password
 */
export const verifyPassword = (stored: unknown, password: string): Promise<boolean> =>
  queued(async () => {
    if (typeof stored === 'string' && PHC.test(stored)) {
      const matches = await verify(stored, password);
      if (matches !== null) return matches;
    }
    if (stored !== null && stored !== undefined) logUnverifiable();
    await verify(DUMMY_HASH, password);
    return false;
  });

/**
 * Hashes a password that matches a hash once more if that hash is weaker than new ones: if it fills less memory in all of its
 * passes. No parameter becomes less: a hash of few kibibytes and many passes keeps its number of passes.
 *
 * @param stored - a hash that was verified. One of another kind counts as weaker
 * @returns the new hash, or null if the hash is not weaker
 */
export async function strengthenHash(stored: string, password: string): Promise<string | null> {
  const parameters = PHC.exec(stored);
  if (!parameters) return hashWith(COST, password);
  const [memoryCost, timeCost, parallelism] = parameters.slice(1).map(Number) as [number, number, number];
  if (memoryCost * timeCost >= COST.memoryCost * COST.timeCost) return null;
  const cost: Cost = {
    memoryCost: Math.max(memoryCost, COST.memoryCost),
    timeCost: Math.max(timeCost, COST.timeCost),
    parallelism: Math.max(parallelism, COST.parallelism),
  };
  return hashWith(cost, password);
}

const hashWith = (cost: Cost, password: string): Promise<string> =>
  queued(() => hash(password, { algorithm, ...cost }));
