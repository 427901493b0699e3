import { ExpiringTokenException } from '../errors/expiring-token.exception.js';

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
 * Checks the name of a new user, and returns it: no control characters, and no white space around it, which some databases
 * ignore in comparisons.
 *
 * @throws ExpiringTokenException `validation_failed`
 */
export function checkNewUsername(value: unknown): string {
  const username = checkCredential('username', value);
  if (/\p{Cc}/u.test(username)) return reject('username', 'must not contain control characters');
  if (username !== username.trim()) return reject('username', 'must not start or end with white space');
  if ([...username].length > MAX_USERNAME_LENGTH)
    return reject('username', `must be at most ${MAX_USERNAME_LENGTH} characters`);
  return username;
}
