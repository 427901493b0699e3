import { inspect } from 'node:util';
import { ExpiringTokenOptionsError } from '../errors/expiring-token-options.error.js';

/** Formats a value for an error message: short and on one line. */
export const formatValue = (value: unknown): string =>
  typeof value === 'string'
    ? JSON.stringify(value).slice(0, 60)
    : inspect(value, { depth: 1, breakLength: Infinity, compact: true }).slice(0, 60);

/**
 * Throws because the value of an option is invalid.
 *
 * @param value - is quoted in the message, so it must not be a secret
 * @param remedy - what to do instead, as a sentence
 */
export function rejectOption(option: string, value: unknown, remedy: string): never {
  throw new ExpiringTokenOptionsError(option, `${formatValue(value)} is not allowed`, remedy);
}

/** Returns the value if it is a string that matches a pattern. */
export function checkPattern(option: string, value: unknown, pattern: RegExp, remedy: string): string {
  return typeof value === 'string' && pattern.test(value) ? value : rejectOption(option, value, remedy);
}

/** Returns the value if it is one of some allowed values. */
export function checkOneOf<T>(option: string, value: unknown, allowed: readonly T[]): T {
  return allowed.includes(value as T)
    ? (value as T)
    : rejectOption(option, value, `Give one of ${allowed.map(formatValue).join(', ')}.`);
}

/** Returns the value if it is a whole number from `min` to `max`. */
export function checkInteger(option: string, value: unknown, min: number, max: number): number {
  if (Number.isSafeInteger(value) && min <= (value as number) && (value as number) <= max) return value as number;
  const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
  return rejectOption(option, value, `Give a whole number ${range}.`);
}

/** Returns the value if it is an object without unknown fields: an option that consists of options. */
export function checkFields<T extends object>(
  option: string,
  value: T | undefined,
  known: readonly (keyof T & string)[],
): T {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return rejectOption(option, value, `Give an object with ${known.map(formatValue).join(', ')}.`);
  }
  const unknown = Object.keys(value).find((name) => !(known as readonly string[]).includes(name));
  if (unknown !== undefined) {
    throw new ExpiringTokenOptionsError(
      `${option}.${unknown}`,
      'unknown option',
      `Fix the spelling or remove it. Known options: ${known.map(formatValue).join(', ')}.`,
    );
  }
  return value;
}
