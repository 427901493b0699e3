import type { PackageLogger } from './package.logger.js';

const INTERVAL_MS = 60_000;

/** Logs a warning at most once a minute, because what causes it usually causes it again and again. */
export class LimitedWarning {
  private loggedAtMs = -INTERVAL_MS;

  constructor(private readonly logger: PackageLogger) {}

  /** @returns whether the line was logged */
  log(line: string): boolean {
    const now = performance.now();
    if (now - this.loggedAtMs < INTERVAL_MS) return false;
    this.loggedAtMs = now;
    this.logger.warn(line);
    return true;
  }
}
