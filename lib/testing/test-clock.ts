import { type Duration, parseDuration } from '../options/duration.js';

/** An instant without meaning, in the future of whatever real clock an application under test may also ask. */
const START = '2030-01-02T03:04:05.678Z';

/**
 * Time that moves only when a test moves it. {@link ExpiringTokenTestingModule} tells the whole package this time: when a
 * token was created, used and has expired. Limits of the waiting for a database or between failed logins, and how long a
 * `cache` remembers, are real time still.
 *
 * @example
 * ```ts
 * app.get(TestClock).advance('30d');
 * ```
 */
export class TestClock {
  private nowMs: number;
  private readonly listeners: (() => void)[] = [];

  /** @param start - the first present; by default an instant in 2030, the same each time */
  constructor(start: Date | string | number = START) {
    this.nowMs = new Date(start).getTime();
  }

  /** The present in milliseconds since the epoch. May be set. */
  get now(): number {
    return this.nowMs;
  }

  /** Moves time to an instant. */
  set now(nowMs: number) {
    this.nowMs = nowMs;
    for (const listener of this.listeners) listener();
  }

  /** Calls whenever time has moved, for what would else wait for it. */
  onMove(listener: () => void): void {
    this.listeners.push(listener);
  }

  /**
   * Moves time.
   *
   * @param duration - with a unit, such as `'15m'`, or in milliseconds; below 0 it goes back
   */
  advance(duration: Duration): void {
    this.now += typeof duration === 'number' ? duration : parseDuration('TestClock.advance', duration);
  }
}
