import { Logger } from '@nestjs/common';
import { MAX_TIMER_MS } from './with-timeout.js';
import { describeError } from '../errors/describe-error.js';

const logger = new Logger('ExpiringToken');

/**
 * Work that is done now and then beside the requests: never twice at once, never the reason why a process stays alive, and
 * its failures are logged, not thrown.
 */
export class BackgroundTask {
  private readonly stopping = new AbortController();
  private timer?: NodeJS.Timeout;
  /** By `performance.now()`, which nobody sets. */
  private dueAtMs = 0;
  private running?: Promise<void>;

  /**
   * @param name - what it does, for the log
   * @param work - is told by the signal to stop soon. Returns in how many milliseconds there is more to do; null if not
   * @param retryMs - in how many milliseconds to try again after a failure; null: not by itself
   */
  constructor(
    private readonly name: string,
    private readonly work: (signal: AbortSignal) => Promise<number | null>,
    private readonly retryMs: number | null,
  ) {}

  /** Does the work after this time, or before if it is due then already. */
  schedule(delayMs: number): void {
    const dueAtMs = performance.now() + delayMs;
    if (this.stopping.signal.aborted || (this.timer && this.dueAtMs <= dueAtMs)) return;
    this.dueAtMs = dueAtMs;
    this.wait(delayMs);
  }

  /** Stops for good, and waits for what is being done. */
  async stop(): Promise<void> {
    clearTimeout(this.timer);
    this.stopping.abort();
    await this.running;
  }

  private wait(delayMs: number): void {
    clearTimeout(this.timer);
    const step = Math.min(delayMs, MAX_TIMER_MS);
    this.timer = setTimeout(() => {
      if (delayMs > step) return this.wait(delayMs - step);
      this.timer = undefined;
      this.running = this.run();
    }, step).unref();
  }

  private async run(): Promise<void> {
    // Those who schedule while it runs wait for its end.
    await this.running;
    const next = await this.work(this.stopping.signal).catch((error: unknown) => {
      if (!this.stopping.signal.aborted) logger.warn(`${this.name}: ${describeError(error)}`);
      return this.retryMs;
    });
    if (next !== null) this.schedule(next);
  }
}
