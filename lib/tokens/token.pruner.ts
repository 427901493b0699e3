import type { TimerOptions } from 'node:timers';
import { setTimeout as pause } from 'node:timers/promises';
import { type BeforeApplicationShutdown, Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { BackgroundTask } from '../async/background-task.js';
import { orUnavailable } from '../errors/service-unavailable.js';
import { CLOCK, type Clock, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import { parsePrune } from '../options/resolve-nested-options.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { TokenEvents } from './events/token.events.js';
import { TokenValidity, unusedLifeMs } from './token-lifetime.js';
import { PURPOSES } from './token-purpose.js';
import { NEVER_MS } from './token.entity.js';
import type { PruneJob, PruneProgress } from './token.interfaces.js';
import type { ExpiryClass, PruneCursor } from './token.queries.js';
import { TokenStore } from './token.store.js';

/**
 * The first sweep starts at a random moment in the second half of this time after the start of the application. So an
 * application that is restarted often is swept too, but not while it starts, and its processes do not sweep at the same moment.
 */
const MAX_FIRST_DELAY_MS = 60_000;

/** The smallest batch. A quick batch is followed by one of twice the size, a slow one by one of half the size. */
const MIN_BATCH_SIZE = 25;

/**
 * How long the work of a batch may take. On SQLite, requests wait for it. A server can write the changed pages to the disk in
 * time only if few pages change at a time.
 */
const MAX_BATCH_MS = 3;

/** How soon the deletion of sealed successors is retried after a failure. */
const RETRY_MS = 30_000;

/** The position before all tokens. */
const FIRST_CURSOR: PruneCursor = { created: new Date(-8.64e15), id: '00000000-0000-0000-0000-000000000000' };

/** One class of tokens in a sweep. */
interface SweepTask {
  readonly expiryClass: ExpiryClass;
  /** No token of the class that was created later can be old enough to be deleted. */
  readonly createdUntil: number;
}

/** How a sweep goes through the tokens. */
interface SweepSettings {
  /** Tokens that were expired at this instant are deleted. */
  readonly at: number;
  readonly maxBatchSize: number;
  /** For the pauses between batches; its signal ends the sweep. */
  readonly timer: TimerOptions;
  /** Called after each batch. */
  readonly onBatch: (examined: number, deleted: number) => void;
}

/**
 * Deletes what nobody needs any more: tokens that expired more than `prune.retention` ago, and the sealed successors of
 * rotated refresh tokens after their grace. This happens beside the requests. Any number of processes may do it at the same
 * time: the statement that deletes checks again what it deletes.
 */
@Injectable()
export class TokenPruner implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly sweeping: BackgroundTask;
  private readonly forgetting: BackgroundTask;

  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly validity: TokenValidity,
    private readonly store: TokenStore,
    private readonly events: TokenEvents,
  ) {
    const { everyMs } = options.prune;
    const sweep = (signal: AbortSignal) => this.sweep(options.prune, { ref: false, signal }).then(() => everyMs);
    this.sweeping = new BackgroundTask('Pruning', sweep, everyMs);
    this.forgetting = new BackgroundTask('Forgetting sealed tokens', () => this.forgetSealed(), RETRY_MS);
  }

  onApplicationBootstrap(): void {
    const { everyMs } = this.options.prune;
    if (everyMs !== null) this.sweeping.schedule((0.5 + Math.random() / 2) * Math.min(everyMs, MAX_FIRST_DELAY_MS));
    // A process that was killed may have left sealed successors behind.
    this.forgetting.schedule(0);
  }

  async beforeApplicationShutdown(): Promise<void> {
    await Promise.all([this.sweeping.stop(), this.forgetting.stop()]);
  }

  /**
   * Runs one sweep, until it is complete or its signal is aborted. Returns how many tokens were deleted.
   *
   * @throws ExpiringTokenOptionsError for an invalid retention or batch
   */
  async prune({ retention, batch, onProgress, signal }: PruneJob = {}): Promise<number> {
    const { retentionMs, batch: defaultBatch } = this.options.prune;
    const settings = parsePrune({ retention: retention ?? retentionMs, batch: batch ?? defaultBatch });
    return orUnavailable(() => this.sweep(settings, { signal }, onProgress));
  }

  /** Schedules the deletion of the sealed successors of a token that was just rotated. */
  scheduleSealedCleanup(): void {
    const graceMs = this.options.refresh?.graceMs;
    if (graceMs) this.forgetting.schedule(graceMs);
  }

  private async sweep(
    { retentionMs, batch }: Pick<ResolvedOptions['prune'], 'retentionMs' | 'batch'>,
    timer: TimerOptions,
    onProgress?: (progress: PruneProgress) => void,
  ): Promise<number> {
    // First, because a sweep skips tokens with sealed successors.
    await this.forgetSealed();
    // "More than the retention ago" excludes a token that expired exactly that long ago.
    const at = this.clock() - retentionMs - 1;
    const progress: PruneProgress = { deleted: 0, examined: 0, total: onProgress ? await this.count(at) : null };
    const onBatch = (examined: number, deleted: number) => {
      progress.examined += examined;
      progress.deleted += deleted;
      onProgress?.({ ...progress });
    };
    try {
      for await (const task of this.tasks(at)) {
        await this.sweepClass(task, { at, maxBatchSize: batch, timer, onBatch });
        if (timer.signal?.aborted) break;
      }
    } finally {
      // Also if the sweep failed, or was ended early.
      if (progress.deleted > 0) this.events.emit('expiring-token.pruned', { count: progress.deleted });
    }
    return progress.deleted;
  }

  /** How many tokens a sweep examines; null if counting them takes too long. */
  private async count(at: number): Promise<number | null> {
    let total = 0;
    try {
      for await (const { expiryClass, createdUntil } of this.tasks(at)) {
        total += await this.store.count(expiryClass, createdUntil);
      }
      return total;
    } catch {
      return null;
    }
  }

  /** The classes of tokens that can hold tokens that were expired at an instant. */
  private async *tasks(at: number): AsyncGenerator<SweepTask> {
    for (const purpose of PURPOSES) {
      let lifespan: number | null = null;
      do {
        const expiryClass: ExpiryClass = { purpose, lifespan };
        const lifeMs = unusedLifeMs(expiryClass, this.validity.lifetimes);
        if (lifeMs < NEVER_MS) yield { expiryClass, createdUntil: at - lifeMs };
        lifespan = await this.store.nextLifespan(purpose, lifespan ?? -1);
      } while (lifespan !== null);
    }
  }

  /** Goes through the tokens of one class, batch by batch. */
  private async sweepClass(
    { expiryClass, createdUntil }: SweepTask,
    { at, maxBatchSize, timer, onBatch }: SweepSettings,
  ): Promise<void> {
    // Doubled and halved, so that there are few sizes: the statement of each size is prepared.
    let size = MIN_BATCH_SIZE;
    let isLast: boolean;
    let found: PruneCursor[] = [];
    // The part of each statement's time that is not work: much, if the server is far away.
    let roundTripMs = Infinity;
    do {
      const startedAt = performance.now();
      const batch = Math.min(size, maxBatchSize);
      const after = found.at(-1) ?? FIRST_CURSOR;
      found = await this.store.next(expiryClass, after, createdUntil, batch);
      roundTripMs = Math.min(roundTripMs, performance.now() - startedAt);
      isLast = found.length < batch;
      if (found.length > 0) {
        const ids = found.map(({ id }) => id);
        onBatch(found.length, await this.store.deleteExpired(ids, at));
      }
      const tookMs = performance.now() - startedAt;
      const workMs = tookMs - 2 * roundTripMs;
      if (workMs < MAX_BATCH_MS / 2 && size < maxBatchSize) size *= 2;
      else if (workMs > MAX_BATCH_MS && size > MIN_BATCH_SIZE) size /= 2;
      // As long as the work took, so that half of the time is left to the requests. It rejects if the signal is aborted.
      await pause(tookMs, undefined, timer).catch(() => undefined);
    } while (!isLast && !timer.signal?.aborted);
  }

  /** Returns in how many milliseconds the next sealed successors expire; null if there are none. */
  private async forgetSealed(): Promise<number | null> {
    const now = this.clock();
    await this.store.forgetSealedBefore(now);
    const next = await this.store.nextSealedUntil();
    return next === null ? null : Math.max(next - now, 0);
  }
}
