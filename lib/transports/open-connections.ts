import { type BeforeApplicationShutdown, Inject, Injectable } from '@nestjs/common';
import { BackgroundTask } from '../async/background-task.js';
import { TokenCache } from '../tokens/token.cache.js';
import { MAX_TIMER_MS } from '../async/with-timeout.js';
import { CLOCK, type Clock, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import { type ExpiringTokenErrorCode, ExpiringTokenException } from '../errors/expiring-token.exception.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import type { Token } from '../tokens/token.entity.js';
import type { Connection } from './connection.js';

/** How often the tokens of all connections are looked up without the option `cache`, which says it otherwise. */
const SWEEP_MS = 10_000;

/** As many are looked up at once: the requests of a busy application wait behind no more than these. */
const CONCURRENCY = 100;

/** What a token is dead by. All else, an outage say, closes nobody whose token may live. */
const ENDING_CODES: readonly ExpiringTokenErrorCode[] = ['token_invalid', 'token_expired', 'user_inactive'];

interface Watched {
  readonly connection: Connection;
  readonly userId: string;
  /** In a function, so that the token is not shown with this. */
  readonly look: () => Promise<Token>;
  /** When the token expires, in milliseconds since the epoch, as far as is known. */
  endsAtMs?: number;
  /** Fires then. */
  timer?: NodeJS.Timeout;
}

/**
 * The connections that were let in with a token and are still open. Each is closed once its token is dead: when this process
 * revoked it, another one says that it did, or it expires; for all that nobody tells, tokens are looked up now and then.
 */
@Injectable()
export class OpenConnections implements BeforeApplicationShutdown {
  private readonly watched = new Set<Watched>();
  /** Ids of the tokens that each was let in with. */
  private readonly tokenIds = new WeakMap<Connection, Set<string>>();
  private readonly byUser = new Map<string, Set<Watched>>();
  private readonly sweeping: BackgroundTask;
  private readonly sweepMs: number;

  constructor(
    @Inject(RESOLVED_OPTIONS) { cache: cacheOptions }: ResolvedOptions,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly tokens: ExpiringTokenService,
    cache: TokenCache,
  ) {
    this.sweepMs = cacheOptions?.ttlMs ?? SWEEP_MS;
    this.sweeping = new BackgroundTask('Looking up the tokens of open connections', () => this.sweep(), this.sweepMs);
    cache.onChange = (userId) => void this.checkAll(userId);
  }

  /** How many there are; more than once those that several tokens were let in by. */
  get size(): number {
    return this.watched.size;
  }

  async beforeApplicationShutdown(): Promise<void> {
    for (const watched of this.watched) this.forget(watched);
    await this.sweeping.stop();
  }

  /** Closes a connection once a token that it was let in with is dead. Nothing, where that is watched already. */
  watch(connection: Connection, plainText: string, token: Token): void {
    const { id, userId } = token;
    const tokenIds = this.tokenIds.get(connection) ?? new Set();
    if (!connection.isOpen || tokenIds.has(id)) return;
    this.tokenIds.set(connection, tokenIds.add(id));
    const watched: Watched = { connection, userId, look: () => this.tokens.introspect(plainText) };
    this.watched.add(watched);
    this.byUser.set(userId, (this.byUser.get(userId) ?? new Set()).add(watched));
    connection.onceClosed(() => this.forget(watched));
    this.sweeping.schedule(this.sweepMs);
    this.expectEnd(watched, token);
    // It may have been revoked since it was let in, or be remembered by the cache alone.
    void this.check([watched]);
  }

  /** @param userId - null: those of all users */
  checkAll(userId: string | null): Promise<PromiseSettledResult<void>[]> {
    return this.check(userId === null ? this.watched : (this.byUser.get(userId) ?? []));
  }

  private async sweep(): Promise<number | null> {
    const failed = (await this.checkAll(null)).find(({ status }) => status === 'rejected');
    if (failed) throw (failed as PromiseRejectedResult).reason;
    return this.watched.size > 0 ? this.sweepMs : null;
  }

  /** What could not be looked up now is looked up by the next sweep. */
  private async check(some: Iterable<Watched>): Promise<PromiseSettledResult<void>[]> {
    const all = [...some];
    const results: PromiseSettledResult<void>[] = [];
    for (let first = 0; first < all.length; first += CONCURRENCY) {
      const together = all.slice(first, first + CONCURRENCY).filter((watched) => this.watched.has(watched));
      results.push(...(await Promise.allSettled(together.map((watched) => this.checkOne(watched)))));
    }
    return results;
  }

  private async checkOne(watched: Watched): Promise<void> {
    try {
      const token = await watched.look();
      if (this.watched.has(watched)) this.expectEnd(watched, token);
    } catch (error) {
      const refusal = error instanceof ExpiringTokenException ? error : new ExpiringTokenException('unavailable');
      const isOver = watched.endsAtMs !== undefined && this.clock() >= watched.endsAtMs;
      if (!isOver && !ENDING_CODES.includes(refusal.code)) throw error;
      this.forget(watched);
      if (watched.connection.isOpen) watched.connection.close(refusal);
    }
  }

  /** A token that is used may live longer: it is looked up again then. */
  private expectEnd(watched: Watched, token: Token): void {
    clearTimeout(watched.timer);
    watched.endsAtMs = this.tokens.expiryOf(token)?.getTime();
    if (watched.endsAtMs === undefined) return;
    // A timer may be a millisecond early.
    const leftMs = Math.min(Math.max(watched.endsAtMs - this.clock(), 0) + 1, MAX_TIMER_MS);
    watched.timer = setTimeout(() => void this.check([watched]), leftMs).unref();
  }

  private forget(watched: Watched): void {
    clearTimeout(watched.timer);
    this.watched.delete(watched);
    const ofUser = this.byUser.get(watched.userId);
    ofUser?.delete(watched);
    if (ofUser?.size === 0) this.byUser.delete(watched.userId);
  }
}
