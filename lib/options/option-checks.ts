import { inspect } from 'node:util';
import { ExpiringTokenOptionsError } from '../errors/expiring-token-options.error.js';

/** Options whose value can be a secret, or a URL with a password. Their values do not appear in an error. */
const SECRET_OPTIONS = ['options', 'secret', 'cache', 'cache.redis', 'loginThrottle', 'loginThrottle.redis'];

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;

/** Describes a value without its content. */
function describeKind(value: unknown): string {
  if (typeof value === 'string') return `a string of ${Buffer.byteLength(value)} bytes`;
  if (Array.isArray(value)) return 'a list';
  if (isObject(value)) return 'an object';
  return ['number', 'bigint', 'symbol', 'function'].includes(typeof value) ? `a ${typeof value}` : String(value);
}

/** Formats a value for an error message: short and on one line. The content of an object, which may be a secret, is left out. */
export function formatValue(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value).slice(0, 60);
  if (Array.isArray(value) ? value.some(isObject) : isObject(value)) return describeKind(value);
  return inspect(value, { breakLength: Infinity, compact: true }).slice(0, 60);
}

/**
 * Throws because the value of an option is invalid. The error shows the value, unless the option can hold a secret.
 *
 * @param remedy - what to do instead, as a sentence
 */
export function rejectOption(option: string, value: unknown, remedy: string): never {
  const shown = SECRET_OPTIONS.includes(option) ? describeKind(value) : formatValue(value);
  throw new ExpiringTokenOptionsError(option, `${shown} is not allowed`, remedy);
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

/** Returns the value if it is an object without unknown fields: an option that consists of options. `true`: no fields are set. */
export function checkFieldsOrTrue<T extends object>(
  option: string,
  value: T | true | undefined,
  known: readonly (keyof T & string)[],
): Partial<T> {
  return value === true ? {} : checkFields(option, value, known, 'true, or ');
}

/**
 * Returns the value if it is an object without unknown fields: an option that consists of options.
 *
 * @param alternative - what else is allowed, for the error message
 */
export function checkFields<T extends object>(
  option: string,
  value: T | undefined,
  known: readonly (keyof T & string)[],
  alternative = '',
): T {
  if (!isObject(value) || Array.isArray(value)) {
    return rejectOption(option, value, `Give ${alternative}an object with ${known.map(formatValue).join(', ')}.`);
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
