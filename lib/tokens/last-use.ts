import { setImmediate as nextTurn, setTimeout as wait } from 'node:timers/promises';
import { type BeforeApplicationShutdown, Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { withTimeout } from '../async/with-timeout.js';
import { describeError } from '../errors/describe-error.js';
import { classifyDriverError, type DriverErrorKind } from '../errors/driver-errors.js';
import { LimitedWarning } from '../errors/limited-warning.js';
import { PackageLogger } from '../errors/package.logger.js';
import { CLOCK, type Clock, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import type { Token } from './token.entity.js';
import { LastUseStore, type TokenUse } from './last-use.store.js';

/** Maximum number of tokens whose use waits to be stored: uses of further tokens are ignored until then. */
const MAX_WAITING = 100_000;

/**
 * The next uses are stored this long after the last ones, so that one statement stores many of them: a use is stored immediately
 * if there was none for a while. Also the pause between attempts at locked rows.
 */
const COLLECTING_MS = 100;

/** A database that blocks the requests is left to them for this share of the time that it took. */
const PAUSE_SHARE = 0.5;

/** Errors that concern the connection or the server, and not a row. */
const OUTAGES: readonly DriverErrorKind[] = ['outage', 'lost', 'readonly', 'session'];

/** How often a use is tried whose row another transaction has locked. */
const MAX_ATTEMPTS = 20;

/** After this many failed statements no further one is tried. It is enough to find several bad rows by halving. */
const MAX_FAILURES = 50;

/** A use that waits to be stored. */
interface WaitingUse {
  readonly at: number;
  /** How often its row was locked. */
  attempts: number;
}

/**
 * Stores when tokens were used: in the background, many with one statement, at most once per token and `lastUsedAccuracy`. A
 * use that cannot be stored is dropped: the next use of the token is stored instead.
 */
@Injectable()
export class LastUse implements BeforeApplicationShutdown, OnApplicationShutdown {
  private readonly logger = new PackageLogger();
  private readonly warning = new LimitedWarning(this.logger);
  /** By token id, of each token its latest use. */
  private readonly waiting = new Map<string, WaitingUse>();
  private collecting = new AbortController();
  private writing?: Promise<void>;
  /** When uses were last stored, in milliseconds of the monotonic clock. */
  private storedAtMs = -Infinity;
  /** How many statements failed since the queue was empty. */
  private failures = 0;
  /** How many uses were dropped since the last warning, and why the last one of them was. */
  private dropped = 0;
  private dropCause: unknown;
  private isStopped = false;

  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly store: LastUseStore,
  ) {}

  /**
   * Notes that a request was accepted with a token.
   *
   * @returns when the token was last used, as far as this process now knows
   */
  note({ id, lastUsedAt }: Pick<Token, 'id' | 'lastUsedAt'>): Date | null {
    const now = this.clock();
    const isFresh = lastUsedAt !== null && now - lastUsedAt.getTime() < this.options.lastUsedAccuracyMs;
    if (isFresh || this.isStopped || this.waiting.size >= MAX_WAITING) return lastUsedAt;
    this.waiting.set(id, { at: now, attempts: 0 });
    this.writing ??= this.writeAll();
    return new Date(now);
  }

  /** Uses are stored before the database is closed. */
  async beforeApplicationShutdown(): Promise<void> {
    await this.stop();
  }

  /** Requests were answered until now. Whether the database is closed already depends on the application's modules. */
  async onApplicationShutdown(): Promise<void> {
    await this.stop();
  }

  /** Waits until all uses are stored, without collecting more of them. */
  async flush(): Promise<void> {
    this.collecting.abort();
    await this.writing;
  }

  /**
   * Stores all uses, or drops what is not stored in time: the transaction that runs may take the time limit of the option
   * `timeout`, and the next ones as much together.
   */
  private async stop(): Promise<void> {
    if (this.isStopped) return;
    await withTimeout(2 * this.options.timeoutMs, () => this.flush()).catch((error: unknown) => {
      this.isStopped = true;
      this.drop([...this.waiting.keys()], error);
    });
    if (this.dropped > 0) this.logger.warn(this.describeDropped());
    this.dropped = 0;
  }

  private async writeAll(): Promise<void> {
    this.collecting = new AbortController();
    this.failures = 0;
    let isLocked = false;
    try {
      while (this.waiting.size > 0) {
        if (isLocked) await wait(COLLECTING_MS);
        else if (this.waiting.size < this.store.maxUses) await this.collect();
        // Requests first: SQLite would store all of the uses without a pause.
        await nextTurn();
        const batch = this.nextBatch();
        const startedAtMs = performance.now();
        await this.writeBatch(batch).finally(() => (this.storedAtMs = performance.now()));
        this.warnOfDropped();
        isLocked = batch.every(([id]) => this.waiting.has(id));
        const isFlushing = this.collecting.signal.aborted;
        if (this.store.isBlocking && !isFlushing) await wait((performance.now() - startedAtMs) * PAUSE_SHARE);
      }
    } catch (error) {
      this.drop([...this.waiting.keys()], error);
    } finally {
      this.writing = undefined;
      this.warnOfDropped();
    }
  }

  /** Waits for more uses, unless all of them are to be stored now. */
  private async collect(): Promise<void> {
    const leftMs = Math.max(0, this.storedAtMs + COLLECTING_MS - performance.now());
    await wait(leftMs, undefined, { ref: false, signal: this.collecting.signal }).catch(() => undefined);
  }

  /** The uses that wait longest, in the order of their rows. */
  private nextBatch(): TokenUse[] {
    const batch: TokenUse[] = [];
    for (const [id, { at }] of this.waiting) {
      batch.push([id, at]);
      if (batch.length === this.store.maxUses) break;
    }
    return batch.toSorted(([one], [other]) => (one < other ? -1 : 1));
  }

  /**
   * Stores some uses. If that fails for a reason that may concern one row only, the other rows are found by halving.
   *
   * @throws the error of the database if no use can be stored now
   */
  private async writeBatch(batch: readonly TokenUse[]): Promise<void> {
    const startedAtMs = performance.now();
    try {
      this.settle(batch, new Set(await this.store.store(batch)));
    } catch (error) {
      const isTimeout = performance.now() - startedAtMs >= this.options.timeoutMs;
      const isOutage = isTimeout || OUTAGES.includes(classifyDriverError(error));
      if (isOutage || ++this.failures > MAX_FAILURES) throw error;
      if (batch.length === 1) return this.drop([batch[0]![0]], error);
      const middle = batch.length >> 1;
      await this.writeBatch(batch.slice(0, middle));
      await this.writeBatch(batch.slice(middle));
    }
  }

  /** Removes the uses of a batch. Those whose rows are locked go to the end of the queue. */
  private settle(batch: readonly TokenUse[], locked: ReadonlySet<string>): void {
    for (const [id] of batch) {
      const use = this.waiting.get(id);
      this.waiting.delete(id);
      if (!use || !locked.has(id)) continue;
      if (++use.attempts < MAX_ATTEMPTS) this.waiting.set(id, use);
      else this.drop([id], new Error('the row is locked'));
    }
  }

  private drop(ids: readonly string[], cause: unknown): void {
    for (const id of ids) this.waiting.delete(id);
    this.dropped += ids.length;
    this.dropCause = cause;
  }

  private warnOfDropped(): void {
    if (this.dropped > 0 && this.warning.log(this.describeDropped())) this.dropped = 0;
  }

  private describeDropped(): string {
    return `Last use of ${this.dropped} tokens not stored: ${describeError(this.dropCause)}`;
  }
}
