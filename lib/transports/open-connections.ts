import { type BeforeApplicationShutdown, Inject, Injectable } from '@nestjs/common';
import { BackgroundTask } from '../async/background-task.js';
import { TokenChanges } from '../tokens/token-changes.js';
import { MAX_TIMER_MS } from '../async/with-timeout.js';
import { CLOCK, type Clock, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import { type ExpiringTokenErrorCode, ExpiringTokenException } from '../errors/expiring-token.exception.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import type { Token } from '../tokens/token.entity.js';
import type { Connection } from './connection.js';

/** How often the tokens of all connections are looked up without the option `cache`. With it, `cache.ttl` is the interval. */
const SWEEP_MS = 10_000;

/** How many tokens are looked up at the same time. The requests of a busy application wait behind no more than these. */
const CONCURRENCY = 100;

/** The errors by which a token has ended. Any other error, for example an outage, says nothing about the token. */
const ENDING_CODES: readonly ExpiringTokenErrorCode[] = ['token_invalid', 'token_expired', 'user_inactive'];

/** One token of one connection. */
interface Watched {
  readonly connection: Connection;
  readonly userId: string;
  /** A function holds the token, so that it does not appear when this object is logged or inspected. */
  readonly lookUp: () => Promise<Token>;
  /** When the token expires, in milliseconds since the epoch, by the last look-up. */
  expiresAtMs?: number;
  /** Fires at that time. */
  timer?: NodeJS.Timeout;
}

/**
 * The open connections that were authenticated with a token. Each connection is closed when its token ends: immediately if
 * this process or, over Redis, another process revokes the token, and when the token expires. All other changes, for example
 * a statement of the application, are found by a sweep that looks up all tokens regularly.
 */
@Injectable()
export class OpenConnections implements BeforeApplicationShutdown {
  private readonly watched = new Set<Watched>();
  private readonly watchedByUser = new Map<string, Set<Watched>>();
  /** Ids of all tokens that a connection was authenticated with. */
  private readonly tokenIds = new WeakMap<Connection, Set<string>>();
  private readonly sweeping: BackgroundTask;
  private readonly sweepMs: number;

  constructor(
    @Inject(RESOLVED_OPTIONS) { cache: cacheOptions }: ResolvedOptions,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly tokens: ExpiringTokenService,
    changes: TokenChanges,
  ) {
    this.sweepMs = cacheOptions?.ttlMs ?? SWEEP_MS;
    this.sweeping = new BackgroundTask('Looking up the tokens of open connections', () => this.sweep(), this.sweepMs);
    changes.subscribe((userId) => void this.checkAll(userId));
  }

  /** The number of watched connections. A connection counts once for each token that it was authenticated with. */
  get size(): number {
    return this.watched.size;
  }

  async beforeApplicationShutdown(): Promise<void> {
    for (const watched of this.watched) this.unwatch(watched);
    await this.sweeping.stop();
  }

  /** Closes the connection when the token ends. Does nothing if the connection is already watched for this token. */
  watch(connection: Connection, plainText: string, token: Token): void {
    const { id, userId } = token;
    const tokenIds = this.tokenIds.get(connection) ?? new Set();
    if (!connection.isOpen || tokenIds.has(id)) return;
    this.tokenIds.set(connection, tokenIds.add(id));
    const watched: Watched = { connection, userId, lookUp: () => this.tokens.introspect(plainText) };
    this.watched.add(watched);
    this.watchedByUser.set(userId, (this.watchedByUser.get(userId) ?? new Set()).add(watched));
    connection.onceClosed(() => this.unwatch(watched));
    this.sweeping.schedule(this.sweepMs);
    this.checkAtExpiry(watched, token);
    // The token may have been revoked since it was authenticated, or it was found in the cache only.
    void this.check([watched]);
  }

  /**
   * Looks up the tokens of connections, and closes the connections whose token has ended.
   *
   * @param userId - checks the connections of this user; null: of all users
   */
  checkAll(userId: string | null): Promise<PromiseSettledResult<void>[]> {
    return this.check(userId === null ? this.watched : (this.watchedByUser.get(userId) ?? []));
  }

  private async sweep(): Promise<number | null> {
    const failed = (await this.checkAll(null)).find(({ status }) => status === 'rejected');
    if (failed) throw (failed as PromiseRejectedResult).reason;
    return this.watched.size > 0 ? this.sweepMs : null;
  }

  /** A token that cannot be looked up now is looked up by the next sweep. */
  private async check(watched: Iterable<Watched>): Promise<PromiseSettledResult<void>[]> {
    const all = [...watched];
    const results: PromiseSettledResult<void>[] = [];
    for (let start = 0; start < all.length; start += CONCURRENCY) {
      // A connection may have been closed while the tokens before it were looked up.
      const batch = all.slice(start, start + CONCURRENCY).filter((each) => this.watched.has(each));
      results.push(...(await Promise.allSettled(batch.map((each) => this.checkOne(each)))));
    }
    return results;
  }

  private async checkOne(watched: Watched): Promise<void> {
    try {
      const token = await watched.lookUp();
      if (this.watched.has(watched)) this.checkAtExpiry(watched, token);
    } catch (error) {
      const exception = error instanceof ExpiringTokenException ? error : new ExpiringTokenException('unavailable');
      // Without the database, the last known time of expiry decides.
      const isExpired = watched.expiresAtMs !== undefined && this.clock() >= watched.expiresAtMs;
      if (!isExpired && !ENDING_CODES.includes(exception.code)) throw error;
      this.unwatch(watched);
      if (watched.connection.isOpen) watched.connection.close(exception);
    }
  }

  /** The token is looked up again when it should expire, because its life may have been extended by then. */
  private checkAtExpiry(watched: Watched, token: Token): void {
    clearTimeout(watched.timer);
    watched.expiresAtMs = this.tokens.expiryOf(token)?.getTime();
    if (watched.expiresAtMs === undefined) return;
    // A timer may fire a millisecond early.
    const delayMs = Math.min(Math.max(watched.expiresAtMs - this.clock(), 0) + 1, MAX_TIMER_MS);
    watched.timer = setTimeout(() => void this.check([watched]), delayMs).unref();
  }

  private unwatch(watched: Watched): void {
    clearTimeout(watched.timer);
    this.watched.delete(watched);
    const ofUser = this.watchedByUser.get(watched.userId);
    ofUser?.delete(watched);
    if (ofUser?.size === 0) this.watchedByUser.delete(watched.userId);
  }
}
