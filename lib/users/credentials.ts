import { HttpException } from '@nestjs/common';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import type { ResolvedOptions } from '../options/resolve-options.js';

/** Maximum length of a user name or password, in bytes of UTF-8: hashing megabytes would be a denial-of-service attack. */
const MAX_CREDENTIAL_BYTES = 1024;
/** Length of the column of the built-in user, in code points. */
const MAX_USERNAME_LENGTH = 255;

function reject(field: string, problem: string): never {
  throw new ExpiringTokenException('validation_failed', { message: `${field} ${problem}` });
}

/**
 * Checks a user name or password, and returns it exactly as sent: never trimmed, case-folded or truncated.
 *
 * @param field - name of the field, for the error message
 * @throws ExpiringTokenException `validation_failed`, without the value
 */
export function checkCredential(field: string, value: unknown): string {
  if (typeof value !== 'string') return reject(field, 'must be a string');
  if (value === '') return reject(field, 'must not be empty');
  // UTF-8 encodes every lone surrogate as U+FFFD: different passwords would have the same hash.
  if (!value.isWellFormed()) return reject(field, 'must be well-formed Unicode');
  if (Buffer.byteLength(value) > MAX_CREDENTIAL_BYTES) {
    return reject(field, `must be at most ${MAX_CREDENTIAL_BYTES} bytes`);
  }
  return value;
}

/**
 * Characters that are not visible, separate lines, or change the direction of others: with them, two names look the same. U+2800
 * is a Braille pattern without dots.
 */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\u2800\p{Default_Ignorable_Code_Point}]/u;

/**
 * Checks the name of a new user, and returns it: no invisible characters, and no white space around it, which some databases
 * ignore in comparisons.
 *
 * @throws ExpiringTokenException `validation_failed`
 */
export function checkNewUsername(value: unknown): string {
  const username = checkCredential('username', value);
  if (INVISIBLE.test(username)) return reject('username', 'must not contain invisible or control characters');
  if (username !== username.trim()) return reject('username', 'must not start or end with white space');
  if ([...username].length > MAX_USERNAME_LENGTH)
    return reject('username', `must be at most ${MAX_USERNAME_LENGTH} characters`);
  return username;
}

/**
 * Checks a new password against the option `passwords`, and returns it.
 *
 * @throws ExpiringTokenException `validation_failed`, without the value
 * @throws HttpException that the option's own check throws
 */
export async function checkNewPassword(
  { minLength, check }: ResolvedOptions['passwords'],
  value: unknown,
): Promise<string> {
  const password = checkCredential('password', value);
  if ([...password].length < minLength) return reject('password', `must be at least ${minLength} characters`);
  try {
    await check?.(password);
  } catch (error) {
    if (error instanceof HttpException) throw error;
    const message = error instanceof Error && error.message !== '' ? error.message : 'password is not accepted';
    throw new ExpiringTokenException('validation_failed', { message });
  }
  return password;
}
