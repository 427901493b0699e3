import type { Revocations } from '../revocation/measure.js';
import type { Storms } from '../storm/measure.js';
import type { Throughput } from '../throughput/measure.js';

/** When a part was measured, and with which versions. */
export interface RunInfo {
  date: string;
  versions: Record<string, string>;
}

/** The content of `results.json`: the last run of each part. */
export interface Results {
  throughput?: RunInfo & Throughput;
  revocation?: RunInfo & Revocations;
  storm?: RunInfo & Storms;
}

export type PartName = keyof Results;
