import { MAX_TIMER_MS } from './with-timeout.js';
import { describeError } from '../errors/describe-error.js';
import { PackageLogger } from '../errors/package.logger.js';

const logger = new PackageLogger();

/**
 * Work that runs from time to time in the background. It never runs twice at the same time, and never keeps the process
 * alive. Failures are logged, not thrown.
 */
export class BackgroundTask {
  private readonly stopping = new AbortController();
  private timer?: NodeJS.Timeout;
  /** By `performance.now()`: a correction of the system clock must not delay it. */
  private dueAtMs = 0;
  private running?: Promise<void>;

  /**
   * @param name - description of the work, for the log
   * @param work - the signal is aborted when it should stop soon. Resolves to the delay in milliseconds until the next run, or
   * to null for none
   * @param retryMs - delay in milliseconds until the next run after a failure; null for none
   */
  constructor(
    private readonly name: string,
    private readonly work: (signal: AbortSignal) => Promise<number | null>,
    private readonly retryMs: number | null,
  ) {}

  /** Schedules a run after this delay. An earlier run that is already scheduled stays. */
  schedule(delayMs: number): void {
    const dueAtMs = performance.now() + delayMs;
    if (this.stopping.signal.aborted || (this.timer && this.dueAtMs <= dueAtMs)) return;
    this.dueAtMs = dueAtMs;
    this.wait(delayMs);
  }

  /** Cancels scheduled runs permanently, and waits for the current one. */
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
    // A run that was scheduled during another one starts after it.
    await this.running;
    const nextDelayMs = await this.work(this.stopping.signal).catch((error: unknown) => {
      if (!this.stopping.signal.aborted) logger.warn(`${this.name}: ${describeError(error)}`);
      return this.retryMs;
    });
    if (nextDelayMs !== null) this.schedule(nextDelayMs);
  }
}
