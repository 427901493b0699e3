import { type Duration, parseDuration } from '../options/duration.js';

/** An arbitrary instant, later than any real time that the application under test may read. */
const START = '2030-01-02T03:04:05.678Z';

/**
 * A clock that advances only when a test advances it. {@link ExpiringTokenTestingModule} makes the package use it for the
 * creation, use and expiry of tokens. The time limits of the database, the login throttle and the `ttl` of the cache still use
 * real time.
 *
 * @example
 * ```ts
 * app.get(TestClock).advance('30d');
 * ```
 */
export class TestClock {
  private nowMs: number;
  private readonly listeners: (() => void)[] = [];

  /** @param start - the initial time; by default always the same instant in 2030 */
  constructor(start: Date | string | number = START) {
    this.nowMs = new Date(start).getTime();
  }

  /** The current time in milliseconds since the epoch. It can be set. */
  get now(): number {
    return this.nowMs;
  }

  /** Sets the clock to an instant. */
  set now(nowMs: number) {
    this.nowMs = nowMs;
    for (const listener of this.listeners) listener();
  }

  /** Registers a listener that is called after each change of the time. */
  onMove(listener: () => void): void {
    this.listeners.push(listener);
  }

  /**
   * Advances the clock.
   *
   * @param duration - a string with a unit, such as `'15m'`, or milliseconds; a negative number moves the clock back
   */
  advance(duration: Duration): void {
    this.now += typeof duration === 'number' ? duration : parseDuration('TestClock.advance', duration);
  }
}
