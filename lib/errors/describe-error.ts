import { classifyDriverError, hintFor } from './driver-errors.js';

/** Control characters, line ends and characters that change the direction of text: in a log they can forge a line. */
const UNSAFE_IN_LOG = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** Escapes text from outside for a log, so that it can neither end a line nor disguise one. */
export const escapeForLog = (text: string): string =>
  text.replace(UNSAFE_IN_LOG, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`);

/**
 * Describes an error for a log or a terminal: its message, code and a hint. The error itself must not be logged: a driver's
 * error also holds the statement and its values.
 */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown error';
  const { code } = error as { code?: unknown };
  const kind = classifyDriverError(error);
  // The messages of these errors quote the value.
  const message = kind === 'value' || kind === 'duplicate' ? `refused a ${kind}` : error.message;
  const withCode = typeof code === 'string' ? `${message} (${code})` : message;
  return escapeForLog([withCode, hintFor(error)].filter(Boolean).join('. '));
}
