import { CLAIMS } from './claims.js';
import type { Results } from './results.js';

/** By how much a ratio of a short run may be worse than that of the long one before it counts: twice the noise seen. */
export const TOLERANCE = 0.15;

/** Lines about what has become worse since the results that are kept. */
export function regressions(now: Results, kept: Results): string[] {
  return CLAIMS.flatMap((claim) => {
    const [measured, before] = [claim.measure(now), claim.measure(kept)];
    if (measured === undefined || before === undefined) return [];
    const isWorse =
      'atLeast' in claim.bound ? measured < before * (1 - TOLERANCE) : measured > before * (1 + TOLERANCE);
    const where = claim.adapter ? `, ${claim.adapter}` : '';
    return isWorse ? [`${claim.title}${where}: ${measured.toFixed(2)}, was ${before.toFixed(2)}`] : [];
  });
}
