import type { TimerOptions } from 'node:timers';
import { setTimeout as pause } from 'node:timers/promises';
import { type BeforeApplicationShutdown, Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { available } from '../availability.js';
import { BackgroundTask } from '../background-task.js';
import { within } from '../deadline.js';
import { CLOCK, type Clock, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../expiring-token.resolved-options.js';
import type { PrunedEvent } from './event.interfaces.js';
import { NEVER_MS, type TokenPurpose } from './token.entity.js';
import { TokenEvents } from './token.events.js';
import { FIRST_PLACE, type Kind, type SweepPlace, TokenStore } from './token.store.js';

/**
 * The first sweep comes within this time, in its second half: an application that is restarted often is swept too, but not
 * while it starts, and its processes not all at once.
 */
const FIRST_SWEEP_MS = 60_000;

/** The smallest batch. One that is quick is followed by one of twice the size, one that takes too long by one of half. */
const FEW_ROWS = 25;

/**
 * How long the work of a batch may take. On SQLite requests wait for it; a server writes its pages out while no more of
 * them change than its disk can take.
 */
const LONGEST_BATCH_MS = 3;

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
    const sweep = (signal: AbortSignal) => this.sweep({ ref: false, signal }).then(() => everyMs);
    this.sweeping = new BackgroundTask('Pruning', sweep, everyMs);
    this.forgetting = new BackgroundTask('Forgetting sealed tokens', () => this.forgetSealed(), RETRY_MS);
  }

  onApplicationBootstrap(): void {
    const { everyMs } = this.options.prune;
    if (everyMs !== null) this.sweeping.schedule((0.5 + Math.random() / 2) * Math.min(everyMs, FIRST_SWEEP_MS));
    // What a process that was killed left behind.
    this.forgetting.schedule(0);
  }

  async beforeApplicationShutdown(): Promise<void> {
    await Promise.all([this.sweeping.stop(), this.forgetting.stop()]);
  }

  /** One whole sweep. Returns how many tokens were deleted. */
  prune(): Promise<number> {
    return available(() => this.sweep({}));
  }

  /** Plans to forget the successors of a token that was just rotated. */
  forgetSealedSoon(): void {
    const graceMs = this.options.refresh?.graceMs;
    if (graceMs) this.forgetting.schedule(graceMs);
  }

  /** @param pausing - how to pause between batches */
  private async sweep(pausing: TimerOptions): Promise<number> {
    // What is still sealed is not swept.
    await this.forgetSealed();
    // More than the retention ago: what ended at this instant, or before.
    const at = this.clock() - this.options.prune.retentionMs - 1;
    const swept: PrunedEvent = { count: 0 };
    try {
      for (const [purpose, { lifespanMs, idleMs }] of Object.entries(this.options.lifetimes)) {
        let own: number | null = null;
        do {
          const longestMs = Math.min(own ?? lifespanMs, idleMs);
          const kind: Kind = { purpose: purpose as TokenPurpose, lifespan: own };
          if (longestMs < NEVER_MS) await this.sweepKind(kind, at, at - longestMs, pausing, swept);
          own = await this.within((signal) => this.store.nextLifespan(kind.purpose, kind.lifespan ?? -1, signal));
        } while (own !== null);
      }
    } finally {
      // One that was cut short has deleted something too.
      if (swept.count > 0) this.events.tell?.('expiring-token.pruned', swept);
    }
    return swept.count;
  }

  /**
   * Goes through the tokens of one kind and one lifespan, batch by batch.
   *
   * @param at - what was dead then is deleted
   * @param createdUntil - no token created later can have been
   * @param swept - counts what is deleted
   */
  private async sweepKind(
    kind: Kind,
    at: number,
    createdUntil: number,
    pausing: TimerOptions,
    swept: PrunedEvent,
  ): Promise<void> {
    const { batch: most } = this.options.prune;
    // Of few sizes, because the statement of each is prepared.
    let size = FEW_ROWS;
    let isLast: boolean;
    let found: SweepPlace[] = [];
    // What every statement takes, however little it does: much, where the server is far away.
    let roundTripMs = Infinity;
    do {
      const startedAt = performance.now();
      const batch = Math.min(size, most);
      const after = found.at(-1) ?? FIRST_PLACE;
      found = await this.within((signal) => this.store.next(kind, after, createdUntil, batch, signal));
      roundTripMs = Math.min(roundTripMs, performance.now() - startedAt);
      isLast = found.length < batch;
      if (found.length > 0) {
        const removal = this.store.removeDead(
          found.map(({ id }) => id),
          at,
        );
        swept.count += await this.within((signal) => this.store.write(removal, signal));
        this.store.settle();
      }
      const tookMs = performance.now() - startedAt;
      const workMs = tookMs - 2 * roundTripMs;
      if (workMs < LONGEST_BATCH_MS / 2 && size < most) size *= 2;
      else if (workMs > LONGEST_BATCH_MS && size > FEW_ROWS) size /= 2;
      // As long as the work took: half of the time is left to the requests.
      await pause(tookMs, undefined, pausing);
    } while (!isLast);
  }

  private async forgetSealed(): Promise<number | null> {
    const now = this.clock();
    await this.within((signal) => this.store.write(this.store.forgetSealedBefore(now), signal));
    const next = await this.within((signal) => this.store.nextSealedUntil(signal));
    return next === null ? null : Math.max(next - now, 0);
  }

  private within<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return within(this.options.timeoutMs, work);
  }
}
