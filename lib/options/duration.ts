import ms from 'ms';
import { rejectOption } from './option-checks.js';

/** A number of milliseconds, or a string with a unit as the `ms` package reads it, for example `'15m'`, `'12h'`, `'30d'`. */
export type Duration = number | string;

/** Maximum duration: a longer one is probably a typing error, and dates would overflow. */
export const MAX_DURATION_MS = ms('100y');

/** Allowed durations, in milliseconds. */
export interface DurationRange {
  readonly min: number;
  readonly max: number;
  /** The range in words, for the error message. */
  readonly description: string;
}

const DEFAULT_RANGE: DurationRange = { min: 1, max: MAX_DURATION_MS, description: 'above 0 and up to 100 years' };

/** A smaller number of milliseconds is no lifetime: its author probably means seconds or days. */
const MIN_LIFETIME_NUMBER = 1000;

/**
 * Converts how long a token lives to milliseconds, as {@link parseDuration} does. A small number without a unit is rejected.
 *
 * @throws ExpiringTokenOptionsError as {@link parseDuration}, and if the value is a number below 1,000
 */
export function parseLifetime(
  option: string,
  value: unknown,
  constraints?: { never?: boolean; range?: DurationRange },
): number {
  if (typeof value === 'number' && value > 0 && value < MIN_LIFETIME_NUMBER) {
    rejectOption(
      option,
      value,
      `A number is milliseconds. Give a string with a unit, such as '${value}s' or '${value}d', or '${value}ms' if milliseconds are meant.`,
    );
  }
  return parseDuration(option, value, constraints);
}

/**
 * Converts a {@link Duration} to milliseconds.
 *
 * @param option - name of the option, for the error message
 * @param constraints - `never: true` allows null, which returns `Infinity`; `range` replaces the default range
 * @throws ExpiringTokenOptionsError if the value has no unit, is not a whole number of milliseconds, or is out of range
 */
export function parseDuration(
  option: string,
  value: unknown,
  { never = false, range = DEFAULT_RANGE }: { never?: boolean; range?: DurationRange } = {},
): number {
  if (value === null && never) return Infinity;
  // ms reads a string without a unit as milliseconds, but the author of '3600' means seconds.
  const unitless = typeof value === 'string' && !/[a-z]\s*$/i.test(value);
  const duration = typeof value === 'string' && value.length <= 100 && !unitless ? ms(value as ms.StringValue) : value;
  if (Number.isSafeInteger(duration) && range.min <= (duration as number) && (duration as number) <= range.max) {
    return duration as number;
  }
  return rejectOption(
    option,
    value,
    `Give a string with a unit such as '15m' or '30d', or a whole number of milliseconds, ${range.description}${
      never ? ', or null for never' : ''
    }.`,
  );
}
