import { setImmediate as nextTurn } from 'node:timers/promises';
import { type BeforeApplicationShutdown, Inject, Injectable, Logger, type OnApplicationShutdown } from '@nestjs/common';
import { withTimeout } from '../async/with-timeout.js';
import { CLOCK, type Clock, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import type { Token } from './token.entity.js';
import { describeError } from '../errors/describe-error.js';
import { TokenStore } from './token.store.js';

/** Uses that wait to be written, at most: more are not noted until these are. */
const MAX_WAITING = 10_000;

/**
 * Writes down when tokens were used: one after another beside the requests, at most once per token and
 * `lastUsedAccuracy`. A use that cannot be written is forgotten: the next one is noted instead.
 */
@Injectable()
export class LastUse implements BeforeApplicationShutdown, OnApplicationShutdown {
  private readonly logger = new Logger('ExpiringToken');
  /** The instants of use, by token id. */
  private readonly waiting = new Map<string, number>();
  private writing?: Promise<void>;

  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly store: TokenStore,
  ) {}

  /**
   * Notes that a request was admitted with a token.
   *
   * @returns when it was last used as far as is known now
   */
  note({ id, lastUsedAt }: Token): Date | null {
    const now = this.clock();
    const isFresh = lastUsedAt !== null && now - lastUsedAt.getTime() < this.options.lastUsedAccuracyMs;
    if (isFresh || this.waiting.size >= MAX_WAITING) return lastUsedAt;
    this.waiting.set(id, now);
    this.writing ??= this.writeAll();
    return new Date(now);
  }

  /** What was admitted is written before the database is closed. */
  async beforeApplicationShutdown(): Promise<void> {
    await this.flush();
  }

  /** Requests were answered until now. Whether the database is closed already depends on the application's modules. */
  async onApplicationShutdown(): Promise<void> {
    await this.flush();
  }

  /** Waits until nothing waits to be written, but not for ever. */
  private async flush(): Promise<void> {
    await withTimeout(this.options.timeoutMs, async () => this.writing).catch(() => this.waiting.clear());
  }

  private async writeAll(): Promise<void> {
    try {
      // A map shows its iterator what is added meanwhile.
      for (const [id, at] of this.waiting) {
        // Requests first: SQLite would write all of them in one go.
        await nextTurn();
        const touch = this.store.touch(id, at, this.options.lastUsedAccuracyMs);
        await withTimeout(this.options.timeoutMs, (signal) => this.store.write(touch, signal));
        this.waiting.delete(id);
      }
    } catch (error) {
      this.logger.warn(`Last use of tokens not written: ${describeError(error)}`);
      this.waiting.clear();
    } finally {
      this.writing = undefined;
    }
  }
}
