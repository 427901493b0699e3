import { inspect } from 'node:util';
import { ExpiringTokenOptionsError } from '../errors/expiring-token-options.error.js';

/** How a value is shown in an error: short, on one line. */
export const formatValue = (value: unknown): string =>
  typeof value === 'string'
    ? JSON.stringify(value).slice(0, 60)
    : inspect(value, { depth: 1, breakLength: Infinity, compact: true }).slice(0, 60);

/** Refuses the value of an option. */
export function rejectOption(option: string, value: unknown, remedy: string): never {
  throw new ExpiringTokenOptionsError(option, `${formatValue(value)} is not allowed`, remedy);
}

/** A string of this pattern. */
export function checkPattern(option: string, value: unknown, pattern: RegExp, remedy: string): string {
  return typeof value === 'string' && pattern.test(value) ? value : rejectOption(option, value, remedy);
}

/** One of these values. */
export function checkOneOf<T>(option: string, value: unknown, allowed: readonly T[]): T {
  return allowed.includes(value as T)
    ? (value as T)
    : rejectOption(option, value, `Give one of ${allowed.map(formatValue).join(', ')}.`);
}

/** A whole number within these bounds. */
export function checkInteger(option: string, value: unknown, least: number, most: number): number {
  if (Number.isSafeInteger(value) && least <= (value as number) && (value as number) <= most) return value as number;
  const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
  return rejectOption(option, value, `Give a whole number ${range}.`);
}

/** An option that is an object of options of its own. */
export function checkFields<T extends object>(
  option: string,
  value: T | undefined,
  known: readonly (keyof T & string)[],
): T {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return rejectOption(option, value, `Give an object with ${known.map(formatValue).join(', ')}.`);
  }
  const stray = Object.keys(value).find((name) => !(known as readonly string[]).includes(name));
  if (stray !== undefined) {
    throw new ExpiringTokenOptionsError(
      `${option}.${stray}`,
      'there is no such option',
      `Mend its spelling, or remove it: there are ${known.map(formatValue).join(', ')}.`,
    );
  }
  return value;
}
