import { setImmediate as nextTurn } from 'node:timers/promises';
import { type BeforeApplicationShutdown, Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { withTimeout } from '../async/with-timeout.js';
import { describeError } from '../errors/describe-error.js';
import { PackageLogger } from '../errors/package.logger.js';
import { CLOCK, type Clock, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import type { Token } from './token.entity.js';
import { TokenStore } from './token.store.js';

/** Maximum number of uses that wait to be stored: further uses are ignored until then. */
const MAX_WAITING = 10_000;

/**
 * Stores when tokens were used: in the background, one after another, at most once per token and `lastUsedAccuracy`. A use
 * that cannot be stored is dropped: the next use of the token is stored instead.
 */
@Injectable()
export class LastUse implements BeforeApplicationShutdown, OnApplicationShutdown {
  private readonly logger = new PackageLogger();
  /** The times of uses that wait to be stored, by token id. */
  private readonly waiting = new Map<string, number>();
  private writing?: Promise<void>;

  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly store: TokenStore,
  ) {}

  /**
   * Notes that a request was accepted with a token.
   *
   * @returns when the token was last used, as far as this process now knows
   */
  note({ id, lastUsedAt }: Token): Date | null {
    const now = this.clock();
    const isFresh = lastUsedAt !== null && now - lastUsedAt.getTime() < this.options.lastUsedAccuracyMs;
    if (isFresh || this.waiting.size >= MAX_WAITING) return lastUsedAt;
    this.waiting.set(id, now);
    this.writing ??= this.writeAll();
    return new Date(now);
  }

  /** Uses are stored before the database is closed. */
  async beforeApplicationShutdown(): Promise<void> {
    await this.flush();
  }

  /** Requests were answered until now. Whether the database is closed already depends on the application's modules. */
  async onApplicationShutdown(): Promise<void> {
    await this.flush();
  }

  /** Waits until all uses are stored, within the option `timeout`. */
  private async flush(): Promise<void> {
    await withTimeout(this.options.timeoutMs, async () => this.writing).catch(() => this.waiting.clear());
  }

  private async writeAll(): Promise<void> {
    try {
      // The iterator of a map also visits entries that are added meanwhile.
      for (const [id, at] of this.waiting) {
        // Requests first: SQLite would store all of the uses without a pause.
        await nextTurn();
        await this.store.touch(id, at, this.options.lastUsedAccuracyMs);
        this.waiting.delete(id);
      }
    } catch (error) {
      this.logger.warn(`Last use of tokens not stored: ${describeError(error)}`);
      this.waiting.clear();
    } finally {
      this.writing = undefined;
    }
  }
}
