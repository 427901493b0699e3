import { inspect } from 'node:util';
import ms from 'ms';
import { ExpiringTokenOptionsError } from './expiring-token.options.js';

/** Longest duration accepted: beyond it a typing error is likelier than an intention, and dates overflow. */
const LONGEST_DURATION_MS = ms('100y');

/** How a value is shown in an error: short, on one line. */
export const show = (value: unknown): string =>
  typeof value === 'string'
    ? JSON.stringify(value).slice(0, 60)
    : inspect(value, { depth: 1, breakLength: Infinity, compact: true }).slice(0, 60);

/** Refuses the value of an option. */
export function refuse(option: string, value: unknown, remedy: string): never {
  throw new ExpiringTokenOptionsError(option, `${show(value)} is not allowed`, remedy);
}

/**
 * A duration in milliseconds, `Infinity` for null.
 *
 * @param never - whether null is allowed, meaning never
 * @throws ExpiringTokenOptionsError when it has no unit, is not a whole number of milliseconds, or is out of range
 */
export function parseDuration(option: string, value: unknown, never = false): number {
  if (value === null && never) return Infinity;
  // ms takes a string without a unit for milliseconds, which nobody means who writes '3600'.
  const unitless = typeof value === 'string' && !/[a-z]\s*$/i.test(value);
  const duration = typeof value === 'string' && value.length <= 100 && !unitless ? ms(value as ms.StringValue) : value;
  if (Number.isSafeInteger(duration) && 0 < (duration as number) && (duration as number) <= LONGEST_DURATION_MS) {
    return duration as number;
  }
  return refuse(
    option,
    value,
    `Give a string with a unit such as '15m' or '30d', or a whole number of milliseconds, above 0 and up to 100 years${
      never ? ', or null for never' : ''
    }.`,
  );
}
