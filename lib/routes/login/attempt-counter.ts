import { Logger } from '@nestjs/common';
import { RateLimiterRedis } from 'rate-limiter-flexible';
import { MAX_TIMER_MS } from '../../async/with-timeout.js';
import type { ResolvedOptions } from '../../options/resolve-options.js';
import { describeError } from '../../errors/describe-error.js';

/** Longest wait for Redis on one command: a login is not to be slower than the password's hash because of it. */
const REDIS_TIMEOUT_MS = 100;

/** How long Redis is left alone after it did not answer, lest each login waits for it in turn. */
const REDIS_PAUSE_MS = 1000;

/** How many attempts each key has, and for how long one is counted. */
export type ThrottleOptions = NonNullable<ResolvedOptions['loginThrottle']>;

/** What an attempt gets that asks for one of the points of its key. */
export interface Slot {
  /** Time until there are points again; null if it got one. */
  refusedForMs: number | null;
  /** Makes the attempt one that was never counted. */
  refund(): Promise<void>;
}

/** Counts attempts in windows that begin with the first one of a key. */
export interface AttemptCounter {
  /** Takes a point of the key, if one is left. */
  consume(key: string): Promise<Slot>;
  /** Gives back all points of the key. */
  forget(key: string): Promise<void>;
  /** Forgets what this process counted, so that nothing of it waits. */
  close(): void;
}

interface Window {
  points: number;
  endsAtMs: number;
  timer: NodeJS.Timeout;
}

/**
 * Counts in this process, by a clock that nobody sets. The library's `RateLimiterMemory` reads the wall clock: an hour
 * forward, and all is forgotten.
 */
export class MemoryCounter implements AttemptCounter {
  private readonly windows = new Map<string, Window>();

  constructor(private readonly options: ThrottleOptions) {}

  async consume(key: string): Promise<Slot> {
    const window = this.windows.get(key) ?? this.open(key);
    if (window.points >= this.options.limit) {
      return { refusedForMs: window.endsAtMs - performance.now(), refund: async () => undefined };
    }
    window.points++;
    const refund = async () => {
      if (--window.points === 0) this.end(key, window);
    };
    return { refusedForMs: null, refund };
  }

  async forget(key: string): Promise<void> {
    const window = this.windows.get(key);
    if (window) this.end(key, window);
  }

  close(): void {
    for (const [key, window] of this.windows) this.end(key, window);
  }

  private open(key: string): Window {
    const ttlMs = Math.min(this.options.ttlMs, MAX_TIMER_MS);
    const timer = setTimeout(() => this.end(key, window), ttlMs).unref();
    const window = { points: 0, endsAtMs: performance.now() + ttlMs, timer };
    this.windows.set(key, window);
    return window;
  }

  private end(key: string, window: Window): void {
    clearTimeout(window.timer);
    if (this.windows.get(key) === window) this.windows.delete(key);
  }
}

/**
 * Counts in Redis for all processes together; while Redis does not answer, in this one alone. The library's own insurance
 * would wait for a hung client each time, and give back in one place what was taken in the other.
 */
export class RedisCounter implements AttemptCounter {
  private readonly logger = new Logger('ExpiringToken');
  private readonly memory: MemoryCounter;
  private readonly redis: RateLimiterRedis;
  private pausedUntilMs = 0;

  constructor(private readonly options: ThrottleOptions) {
    this.memory = new MemoryCounter(options);
    this.redis = new RateLimiterRedis({
      storeClient: options.redis,
      // By itself the library goes by the name of the client's class, which is another in each version of redis.
      useRedisPackage: !('defineCommand' in (options.redis as object)),
      keyPrefix: 'expiring-token:login',
      points: options.limit,
      // Redis counts whole seconds, and the library rounds down: 0 would be for ever.
      duration: Math.ceil(options.ttlMs / 1000),
    });
  }

  async consume(key: string): Promise<Slot> {
    const counted = await this.ask(
      () => this.redis.penalty(key),
      // It answers after all, to a login that was counted elsewhere.
      () => this.redis.reward(key),
    );
    if (!counted) return this.memory.consume(key);
    const { consumedPoints, msBeforeNext } = counted;
    const endsAtMs = performance.now() + msBeforeNext;
    const refund = () => this.refund(key, endsAtMs);
    if (consumedPoints <= this.options.limit) return { refusedForMs: null, refund };
    await refund();
    return { refusedForMs: msBeforeNext, refund: async () => undefined };
  }

  async forget(key: string): Promise<void> {
    await Promise.all([this.memory.forget(key), this.ask(() => this.redis.delete(key))]);
  }

  close(): void {
    this.memory.close();
  }

  private async refund(key: string, endsAtMs: number): Promise<void> {
    if (performance.now() >= endsAtMs) return;
    const left = await this.ask(() => this.redis.reward(key));
    // The point was forgotten already.
    if (left && left.consumedPoints < 0) await this.ask(() => this.redis.penalty(key));
  }

  /**
   * @param undo - what to do when the answer comes too late
   * @returns undefined if there is none in time
   */
  private async ask<T>(command: () => Promise<T>, undo?: () => Promise<unknown>): Promise<T | undefined> {
    if (performance.now() < this.pausedUntilMs) return undefined;
    const answer = (async () => command())();
    try {
      return await inTime(answer);
    } catch (error) {
      this.pausedUntilMs = performance.now() + REDIS_PAUSE_MS;
      this.logger.warn(`Failed logins are counted by this process alone, Redis fails: ${describeError(error)}`);
      answer.then(undo).catch(() => undefined);
      return undefined;
    }
  }
}

function inTime<T>(answer: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    // In a busy process the timer fires before an answer is read that has come: the immediate waits for that.
    const timer = setTimeout(() => setImmediate(reject, new Error('no answer in time')), REDIS_TIMEOUT_MS);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
