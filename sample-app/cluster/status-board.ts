import { LRUCache } from 'lru-cache';
import type { Figures, ProcessStatus, Report } from './report.js';

const NOTHING: Figures = { requests: 0, cacheHits: 0, lookUps: 0, revocations: 0 };

/** What the processes reported, by the place of each. */
export class StatusBoard {
  private readonly processes = new Map<number, ProcessStatus>();
  /** When a user's revocation was told last. */
  private readonly toldAtMs = new LRUCache<string, number>({ max: 1000 });

  /** A process starts in a place, and counts from nothing. */
  open(number: number, pid: number): void {
    this.processes.set(number, { number, pid, ...NOTHING, lastDelayMs: null });
  }

  receive(number: number, report: Report): void {
    const status = this.processes.get(number)!;
    if ('figures' in report) Object.assign(status, report.figures);
    else if ('told' in report) this.toldAtMs.set(report.told.userId, report.told.atMs);
    else {
      const { userId, atMs } = report.heard;
      // Another application that uses this Redis told the others.
      const toldAtMs = this.toldAtMs.get(userId);
      if (toldAtMs !== undefined) status.lastDelayMs = atMs - toldAtMs;
    }
  }

  read(): ProcessStatus[] {
    return [...this.processes.values()];
  }
}
