import ms from 'ms';
import { rejectOption } from './option-checks.js';

/** A number of milliseconds, or a string with a unit as the `ms` package reads it: `'15m'`, `'12h'`, `'30d'`. */
export type Duration = number | string;

/** Longest duration accepted: beyond it a typing error is likelier than an intention, and dates overflow. */
const MAX_DURATION_MS = ms('100y');

/** What a {@link Duration} can be beyond the usual. */
interface DurationRange {
  /** Whether null is allowed, meaning never. */
  never?: boolean;
  /** The range in milliseconds, and how an error tells it. */
  range?: { least: number; most: number; words: string };
}

const USUAL_RANGE = { least: 1, most: MAX_DURATION_MS, words: 'above 0 and up to 100 years' };

/**
 * A duration in milliseconds, `Infinity` for null.
 *
 * @throws ExpiringTokenOptionsError when it has no unit, is not a whole number of milliseconds, or is out of range
 */
export function parseDuration(
  option: string,
  value: unknown,
  { never = false, range = USUAL_RANGE }: DurationRange = {},
): number {
  if (value === null && never) return Infinity;
  // ms takes a string without a unit for milliseconds, which nobody means who writes '3600'.
  const unitless = typeof value === 'string' && !/[a-z]\s*$/i.test(value);
  const duration = typeof value === 'string' && value.length <= 100 && !unitless ? ms(value as ms.StringValue) : value;
  if (Number.isSafeInteger(duration) && range.least <= (duration as number) && (duration as number) <= range.most) {
    return duration as number;
  }
  return rejectOption(
    option,
    value,
    `Give a string with a unit such as '15m' or '30d', or a whole number of milliseconds, ${range.words}${
      never ? ', or null for never' : ''
    }.`,
  );
}
