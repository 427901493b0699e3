import { failureOf, remedyOf } from './driver-errors.js';

/** What a line of a log must not hold as it is: control characters, line ends, and what turns the direction of the text. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** Text that comes from outside, as a log may hold it: it can neither end a line nor disguise one. */
export const printable = (text: string): string =>
  text.replace(UNPRINTABLE, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`);

/** What may be told of a failure: a driver's error also holds the statement with its values. */
export function describe(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown error';
  const { code } = error as { code?: unknown };
  const failure = failureOf(error);
  // Its message quotes the value.
  const message = failure === 'value' || failure === 'duplicate' ? `refused a ${failure}` : error.message;
  const told = typeof code === 'string' ? `${message} (${code})` : message;
  return printable([told, remedyOf(error)].filter(Boolean).join('. '));
}
