import { ExpiringTokenException } from '../errors/expiring-token.exception.js';

/** Longest user name or password, in bytes of UTF-8: a hash of megabytes would be a way to stop the server. */
const MAX_CREDENTIAL_BYTES = 1024;
/** What the column of the built-in user holds, in code points. */
const MAX_USERNAME_LENGTH = 255;

function refuse(field: string, problem: string): never {
  throw new ExpiringTokenException('validation_failed', { message: `${field} ${problem}` });
}

/**
 * A user name or password as it may be compared or hashed: exactly as sent, never trimmed, folded or cut.
 *
 * @param field - its name, for the error
 * @throws ExpiringTokenException `validation_failed`, without the value
 */
export function checkCredential(field: string, value: unknown): string {
  if (typeof value !== 'string') return refuse(field, 'must be a string');
  if (value === '') return refuse(field, 'must not be empty');
  // Lone surrogates all become U+FFFD in UTF-8: different passwords would have one hash.
  if (!value.isWellFormed()) return refuse(field, 'must be well-formed Unicode');
  if (Buffer.byteLength(value) > MAX_CREDENTIAL_BYTES) {
    return refuse(field, `must be at most ${MAX_CREDENTIAL_BYTES} bytes`);
  }
  return value;
}

/**
 * The user name of a new user: visible characters, without spaces around it that some databases would not compare.
 *
 * @throws ExpiringTokenException `validation_failed`
 */
export function checkNewUsername(value: unknown): string {
  const username = checkCredential('username', value);
  if (/\p{Cc}/u.test(username)) return refuse('username', 'must not contain control characters');
  if (username !== username.trim()) return refuse('username', 'must not start or end with white space');
  if ([...username].length > MAX_USERNAME_LENGTH)
    return refuse('username', `must be at most ${MAX_USERNAME_LENGTH} characters`);
  return username;
}
