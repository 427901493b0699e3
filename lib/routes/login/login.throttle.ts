import { createHash } from 'node:crypto';
import { HttpException, Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import pLimit from 'p-limit';
import { RESOLVED_OPTIONS } from '../../expiring-token.constants.js';
import { ExpiringTokenException } from '../../errors/expiring-token.exception.js';
import type { ResolvedOptions } from '../../options/resolve-options.js';
import { type AttemptCounter, MemoryCounter, type Slot, RedisCounter } from './attempt-counter.js';
import { networkOf } from './client-network.js';

/** What a counter knows of a user name or an address: of a bounded length, and not the name. */
const keyOf = (kind: 'address' | 'name', value: string): string =>
  `${kind}:${createHash('sha256').update(value).digest('base64url')}`;

const isThrottled = (error: unknown): boolean => error instanceof ExpiringTokenException && error.code === 'throttled';

/** Whether an attempt was refused by what looked at its credentials, and not by this throttle before. */
const isWrong = (error: unknown): boolean =>
  error instanceof HttpException && error.getStatus() < 500 && !isThrottled(error);

/** Attempts of one key that may wait: those of a crowd, and not all that somebody cares to send. */
const MAX_QUEUED_ATTEMPTS = 1000;

/** The attempts of one key in this process. */
class AttemptQueue {
  /** They take their points one by one. */
  readonly mutex = pLimit(1);
  readonly running = new Set<Promise<unknown>>();
  settled = 0;
  /** Those that wait at the door, and those that run. */
  length = 0;

  /**
   * Waits for a point as long as it can become free: one that is refused now may be held by a right login.
   *
   * @throws ExpiringTokenException `throttled`
   */
  async acquire(take: () => Promise<Slot>): Promise<Slot> {
    for (;;) {
      const { settled } = this;
      const point = await take();
      if (point.refusedForMs === null) return point;
      if (this.settled > settled) continue;
      if (this.running.size === 0) {
        const retryAfterSeconds = Math.max(1, Math.ceil(point.refusedForMs / 1000));
        throw new ExpiringTokenException('throttled', { retryAfterSeconds });
      }
      await Promise.race(this.running);
    }
  }

  add(attempt: Promise<unknown>): void {
    const settle = () => {
      this.running.delete(settled);
      this.settled++;
    };
    const settled = attempt.then(settle, settle);
    this.running.add(settled);
  }
}

/**
 * Limits failed logins by user name and by address. A point is taken before the password is looked at, so that no number of
 * attempts at once is more than the limit; right logins give it back.
 */
@Injectable()
export class LoginThrottle implements OnApplicationShutdown {
  private readonly counter: AttemptCounter | null;
  private readonly lines = new Map<string, AttemptQueue>();

  constructor(@Inject(RESOLVED_OPTIONS) { loginThrottle }: ResolvedOptions) {
    this.counter = loginThrottle && new (loginThrottle.redis ? RedisCounter : MemoryCounter)(loginThrottle);
  }

  onApplicationShutdown(): void {
    this.counter?.close();
  }

  /**
   * Makes an attempt to log in, unless too many have failed.
   *
   * @param address - `request.ip` of the framework
   * @param username - exactly as sent
   * @param attempt - throws an `HttpException` below 500 for credentials that are refused; nothing else counts as a failure
   * @throws ExpiringTokenException `throttled`
   */
  async run<T>(address: string | undefined, username: string, attempt: () => Promise<T>): Promise<T> {
    const { counter } = this;
    if (!counter) return attempt();
    const name = keyOf('name', username);
    const countedByName = () => this.count(counter, name, () => counter.forget(name), attempt);
    // The address first: one that is refused leaves no name behind.
    return this.count(counter, keyOf('address', networkOf(address)), (point) => point.refund(), countedByName);
  }

  private async count<T>(
    counter: AttemptCounter,
    key: string,
    onSuccess: (point: Slot) => Promise<void>,
    attempt: () => Promise<T>,
  ): Promise<T> {
    const run = async (point: Slot): Promise<T> => {
      try {
        const result = await attempt();
        await onSuccess(point);
        return result;
      } catch (error) {
        if (!isWrong(error)) await point.refund();
        throw error;
      }
    };
    const line = this.lines.get(key) ?? new AttemptQueue();
    if (line.length >= MAX_QUEUED_ATTEMPTS) throw new ExpiringTokenException('unavailable');
    this.lines.set(key, line);
    line.length++;
    try {
      const { running } = await line.mutex(async () => {
        const started = run(await line.acquire(() => counter.consume(key)));
        line.add(started);
        // In an object, or the door would stay shut until it ends.
        return { running: started };
      });
      return await running;
    } finally {
      if (--line.length === 0) this.lines.delete(key);
    }
  }
}
