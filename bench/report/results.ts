import type { Revocations } from '../revocation/measure.js';
import type { Storms } from '../storm/measure.js';
import type { Throughput } from '../throughput/measure.js';

/** When something was measured, and of which versions. */
export interface Made {
  date: string;
  versions: Record<string, string>;
}

/** What `results.json` holds: the last run of each part. */
export interface Results {
  throughput?: Made & Throughput;
  revocation?: Made & Revocations;
  storm?: Made & Storms;
}

export type PartName = keyof Results;
