import ms from 'ms';
import { refuse } from './option-checks.js';

/** A number of milliseconds, or a string with a unit as the `ms` package reads it: `'15m'`, `'12h'`, `'30d'`. */
export type Duration = number | string;

/** Longest duration accepted: beyond it a typing error is likelier than an intention, and dates overflow. */
const LONGEST_DURATION_MS = ms('100y');

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
