import type { TimerOptions } from 'node:timers';
import { setTimeout as pause } from 'node:timers/promises';
import { type BeforeApplicationShutdown, Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { orUnavailable } from '../errors/service-unavailable.js';
import { BackgroundTask } from '../async/background-task.js';
import { withTimeout } from '../async/with-timeout.js';
import { CLOCK, type Clock, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import { parsePrune, type ResolvedOptions } from '../options/resolve-options.js';
import { NEVER_MS, type TokenPurpose } from './token.entity.js';
import { TokenEvents } from './events/token.events.js';
import type { PruneJob, PruneProgress } from './token.interfaces.js';
import { FIRST_CURSOR, type ExpiryClass, type PruneCursor, TokenStore } from './token.store.js';

/**
 * The first sweep comes within this time, in its second half: an application that is restarted often is swept too, but not
 * while it starts, and its processes not all at once.
 */
const MAX_FIRST_DELAY_MS = 60_000;

/** The smallest batch. One that is quick is followed by one of twice the size, one that takes too long by one of half. */
const MIN_BATCH_SIZE = 25;

/**
 * How long the work of a batch may take. On SQLite requests wait for it; a server writes its pages out while no more of
 * them change than its disk can take.
 */
const MAX_BATCH_MS = 3;

/** What rotated refresh tokens can no longer open is forgotten within this time after a failure. */
const RETRY_MS = 30_000;

/**
 * Deletes what nobody needs any more: tokens that expired more than `prune.retention` ago, and the sealed successors of
 * rotated refresh tokens once their grace is over. Never on the way of a request. Any number of processes may do it at
 * once: what counts is checked again by the statement that deletes.
 */
@Injectable()
export class TokenPruner implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly sweeping: BackgroundTask;
  private readonly forgetting: BackgroundTask;

  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(CLOCK) private readonly clock: Clock,
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
    // What a process that was killed left behind.
    this.forgetting.schedule(0);
  }

  async beforeApplicationShutdown(): Promise<void> {
    await Promise.all([this.sweeping.stop(), this.forgetting.stop()]);
  }

  /**
   * One whole sweep, or the part of it that was done when the signal was aborted. Returns how many tokens were deleted.
   *
   * @throws ExpiringTokenOptionsError for a retention or batch that is none
   */
  async prune({ retention, batch, onProgress, signal }: PruneJob = {}): Promise<number> {
    const usual = this.options.prune;
    const how = parsePrune({ retention: retention ?? usual.retentionMs, batch: batch ?? usual.batch });
    return orUnavailable(() => this.sweep(how, { signal }, onProgress));
  }

  /** Plans to forget the successors of a token that was just rotated. */
  scheduleSealedCleanup(): void {
    const graceMs = this.options.refresh?.graceMs;
    if (graceMs) this.forgetting.schedule(graceMs);
  }

  /** @param pausing - how to pause between batches, and what ends the sweep in one */
  private async sweep(
    { retentionMs, batch }: Pick<ResolvedOptions['prune'], 'retentionMs' | 'batch'>,
    pausing: TimerOptions,
    onProgress?: (progress: PruneProgress) => void,
  ): Promise<number> {
    // What is still sealed is not swept.
    await this.forgetSealed();
    // More than the retention ago: what ended at this instant, or before.
    const at = this.clock() - retentionMs - 1;
    const progress: PruneProgress = { deleted: 0, examined: 0, total: onProgress ? await this.count(at) : null };
    try {
      for await (const { kind, createdUntil } of this.expiryClasses(at)) {
        await this.sweepKind(kind, at, createdUntil, batch, pausing, (examined, deleted) => {
          progress.examined += examined;
          progress.deleted += deleted;
          onProgress?.({ ...progress });
        });
        if (pausing.signal?.aborted) break;
      }
    } finally {
      // One that was cut short has deleted something too.
      if (progress.deleted > 0) this.events.emit?.('expiring-token.pruned', { count: progress.deleted });
    }
    return progress.deleted;
  }

  /** How many tokens a sweep has to look at; null where it takes too long to count them. */
  private async count(at: number): Promise<number | null> {
    let total = 0;
    try {
      for await (const { kind, createdUntil } of this.expiryClasses(at)) {
        total += await this.within((signal) => this.store.count(kind, createdUntil, signal));
      }
      return total;
    } catch {
      return null;
    }
  }

  /** The kinds of token that there are, each with the time until which one must have been created to be dead at an instant. */
  private async *expiryClasses(at: number): AsyncGenerator<{ kind: ExpiryClass; createdUntil: number }> {
    for (const [purpose, { lifespanMs, idleMs }] of Object.entries(this.options.lifetimes)) {
      let own: number | null = null;
      do {
        const longestMs = Math.min(own ?? lifespanMs, idleMs);
        const kind: ExpiryClass = { purpose: purpose as TokenPurpose, lifespan: own };
        if (longestMs < NEVER_MS) yield { kind, createdUntil: at - longestMs };
        own = await this.within((signal) => this.store.nextLifespan(kind.purpose, kind.lifespan ?? -1, signal));
      } while (own !== null);
    }
  }

  /**
   * Goes through the tokens of one kind and one lifespan, batch by batch.
   *
   * @param at - what was dead then is deleted
   * @param createdUntil - no token created later can have been
   * @param most - size of the largest batch
   * @param tell - is told of each batch how many were looked at, and how many of them deleted
   */
  private async sweepKind(
    kind: ExpiryClass,
    at: number,
    createdUntil: number,
    most: number,
    pausing: TimerOptions,
    tell: (examined: number, deleted: number) => void,
  ): Promise<void> {
    // Of few sizes, because the statement of each is prepared.
    let size = MIN_BATCH_SIZE;
    let isLast: boolean;
    let found: PruneCursor[] = [];
    // What every statement takes, however little it does: much, where the server is far away.
    let roundTripMs = Infinity;
    do {
      const startedAt = performance.now();
      const batch = Math.min(size, most);
      const after = found.at(-1) ?? FIRST_CURSOR;
      found = await this.within((signal) => this.store.next(kind, after, createdUntil, batch, signal));
      roundTripMs = Math.min(roundTripMs, performance.now() - startedAt);
      isLast = found.length < batch;
      if (found.length > 0) {
        const removal = this.store.deleteExpired(
          found.map(({ id }) => id),
          at,
        );
        tell(found.length, await this.within((signal) => this.store.write(removal, signal)));
      }
      const tookMs = performance.now() - startedAt;
      const workMs = tookMs - 2 * roundTripMs;
      if (workMs < MAX_BATCH_MS / 2 && size < most) size *= 2;
      else if (workMs > MAX_BATCH_MS && size > MIN_BATCH_SIZE) size /= 2;
      // As long as the work took: half of the time is left to the requests. It fails where the sweep is to end.
      await pause(tookMs, undefined, pausing).catch(() => undefined);
    } while (!isLast && !pausing.signal?.aborted);
  }

  private async forgetSealed(): Promise<number | null> {
    const now = this.clock();
    await this.within((signal) => this.store.write(this.store.forgetSealedBefore(now), signal));
    const next = await this.within((signal) => this.store.nextSealedUntil(signal));
    return next === null ? null : Math.max(next - now, 0);
  }

  private within<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return withTimeout(this.options.timeoutMs, work);
  }
}
