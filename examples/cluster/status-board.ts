import type { Figures, ProcessStatus, Report } from './report.js';

const NOTHING: Figures = { requests: 0, cacheHits: 0, lookUps: 0, revocations: 0 };

/** Users whose last revocation is remembered: more are published in a second only by a load test. */
const MAX_USERS = 1000;

/** The reports of all processes, by the number of each. */
export class StatusBoard {
  private readonly processes = new Map<number, ProcessStatus>();
  /** When the last revocation of a user was published. */
  private readonly publishedAtMs = new Map<string, number>();

  /** A process starts, with all its counters at zero. */
  open(number: number, pid: number): void {
    this.processes.set(number, { number, pid, ...NOTHING, lastDelayMs: null });
  }

  receive(number: number, report: Report): void {
    const status = this.processes.get(number)!;
    if ('figures' in report) Object.assign(status, report.figures);
    else if ('published' in report) this.remember(report.published);
    else {
      const { userId, atMs } = report.received;
      // Undefined if another application that uses this Redis published the revocation.
      const publishedAtMs = this.publishedAtMs.get(userId);
      if (publishedAtMs !== undefined) status.lastDelayMs = atMs - publishedAtMs;
    }
  }

  read(): ProcessStatus[] {
    return [...this.processes.values()];
  }

  private remember({ userId, atMs }: { userId: string; atMs: number }): void {
    // A map lists its keys in the order of their insertion: the first one is the oldest.
    this.publishedAtMs.delete(userId);
    this.publishedAtMs.set(userId, atMs);
    const [oldest] = this.publishedAtMs.keys();
    if (this.publishedAtMs.size > MAX_USERS) this.publishedAtMs.delete(oldest!);
  }
}
