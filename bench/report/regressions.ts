import { CLAIMS } from './claims.js';
import type { Results } from './results.js';

/** How much worse a ratio of a quick run may be than that of the full run: twice the observed noise. */
export const TOLERANCE = 0.15;

/** Describes each ratio that became worse since the committed results, one line each. */
export function regressions(results: Results, baseline: Results): string[] {
  return CLAIMS.flatMap((claim) => {
    const [measured, before] = [claim.measure(results), claim.measure(baseline)];
    if (measured === undefined || before === undefined) return [];
    const isWorse =
      'atLeast' in claim.bound ? measured < before * (1 - TOLERANCE) : measured > before * (1 + TOLERANCE);
    const where = claim.adapter ? `, ${claim.adapter}` : '';
    return isWorse ? [`${claim.title}${where}: ${measured.toFixed(2)}, was ${before.toFixed(2)}`] : [];
  });
}
