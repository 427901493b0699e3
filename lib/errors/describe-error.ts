import { classifyDriverError, hintFor } from './driver-errors.js';

/** What a line of a log must not hold as it is: control characters, line ends, and what turns the direction of the text. */
const UNSAFE_IN_LOG = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** Text that comes from outside, as a log may hold it: it can neither end a line nor disguise one. */
export const escapeForLog = (text: string): string =>
  text.replace(UNSAFE_IN_LOG, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`);

/** What may be told of a failure: a driver's error also holds the statement with its values. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown error';
  const { code } = error as { code?: unknown };
  const failure = classifyDriverError(error);
  // Its message quotes the value.
  const message = failure === 'value' || failure === 'duplicate' ? `refused a ${failure}` : error.message;
  const told = typeof code === 'string' ? `${message} (${code})` : message;
  return escapeForLog([told, hintFor(error)].filter(Boolean).join('. '));
}
