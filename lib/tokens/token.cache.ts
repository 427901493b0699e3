import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { createLRU } from 'lru.min';
import type { Database } from '../database/database.js';
import { DATABASE, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { type TokenWithUser, TokenLookup } from './token.lookup.js';
import { digestKey, type Identity } from './secret/token-secret.js';
import type { CacheStatus } from './token.interfaces.js';
import { connectRedis, type RedisClient } from '../redis/redis-client.js';
import { RevocationBus } from '../redis/revocation.bus.js';

interface Entry {
  readonly userId: string;
  readonly found: TokenWithUser;
  /** When the token was last used, as far as this process knows. */
  lastUsedAtMs: number | null;
  /** End of the option `cache.ttl`, by `performance.now()`: a correction of the system clock cannot prolong it. */
  readonly evictAtMs: number;
}

type Entries = ReturnType<typeof createLRU<string, Entry>>;

const millisecondsOf = (date: Date | null): number | null => date && date.getTime();

/**
 * Remembers tokens that were let in, where the option `cache` says so: their digests, rows and users. Whether one lives is
 * judged anew on each request, and what is not to be let in is looked up once more.
 *
 * What is remembered of a user is forgotten whenever this process has changed anything of the user's tokens, or another one
 * says that it has. A look-up that was on its way meanwhile may have seen what was before, so it is not remembered.
 */
@Injectable()
export class TokenCache implements OnApplicationBootstrap, OnApplicationShutdown {
  private readonly entries: Entries | null;
  private readonly keysByUser = new Map<string, Set<string>>();
  /** Look-ups on their way, by key: who comes meanwhile waits for it, and does not ask as well. */
  private readonly pending = new Map<string, { age: number; look: Promise<TokenWithUser | null> }>();
  /** Counts what was forgotten. */
  private age = 0;
  private bus?: RevocationBus;
  /** Told whose tokens may have changed, here or in another process; null: those of any user. */
  onChange: (userId: string | null) => void = () => undefined;
  private hits = 0;
  private lookUps = 0;

  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(DATABASE) database: Database,
    private readonly lookup: TokenLookup,
  ) {
    const { cache } = options;
    // Whatever changes a user's tokens, or whether the user may use them, is a transaction under the lock of the user.
    database.onTransactionEnd = (userId) => this.revoke(userId);
    this.entries =
      cache &&
      createLRU({
        max: cache.max,
        // Called for each entry that leaves: deleted, replaced, pushed out by a newer one, or cleared.
        onEviction: (key, { userId }) => this.removeKey(userId, key),
      });
  }

  async onApplicationBootstrap(): Promise<void> {
    const redis = this.options.cache?.redis;
    if (redis === undefined) return;
    const isUrl = typeof redis === 'string';
    const client = isUrl ? await connectRedis(redis) : (redis as RedisClient);
    this.bus = new RevocationBus(client, isUrl, { onRevoked: (userId) => this.forget(userId) }, this.age > 0);
  }

  async onApplicationShutdown(): Promise<void> {
    await this.bus?.close();
  }

  /**
   * The token and its user; null when there is no such token.
   *
   * @param isLetIn - whether a request is let in with it, which is what is remembered
   */
  find(identity: Identity, isLetIn: (found: TokenWithUser) => boolean): Promise<TokenWithUser | null> {
    const { entries } = this;
    return entries ? this.findIn(entries, identity, isLetIn) : this.lookUp(identity);
  }

  get status(): CacheStatus {
    const { hits, lookUps } = this;
    const isOpen = this.entries !== null && this.isOpen;
    return { isOpen, size: this.entries?.size ?? 0, hits, lookUps, revocations: this.bus?.received ?? 0 };
  }

  /** Remembers when a token was used, or it would be noted on each request until it is looked up again. */
  touch(identity: Identity, lastUsedAt: Date | null): void {
    const entry = this.entries?.peek(digestKey(identity.digested));
    if (entry) entry.lastUsedAtMs = millisecondsOf(lastUsedAt);
  }

  /** Forgets a user here and in the other processes. */
  private async revoke(userId: string): Promise<void> {
    this.forget(userId);
    await this.bus?.publish(userId);
  }

  private async findIn(
    entries: Entries,
    identity: Identity,
    isLetIn: (found: TokenWithUser) => boolean,
  ): Promise<TokenWithUser | null> {
    // Not even a look-up that is on its way is shared: another process may have revoked the token meanwhile.
    if (!this.isOpen) return this.lookUp(identity);
    const key = digestKey(identity.digested);
    const entry = entries.get(key);
    if (entry && entry.evictAtMs <= performance.now()) entries.delete(key);
    else if (entry) {
      const found = entry.found.clone();
      found.token.lastUsedAt = entry.lastUsedAtMs === null ? null : new Date(entry.lastUsedAtMs);
      if (isLetIn(found)) {
        this.hits++;
        return found;
      }
    }
    const pending = this.pending.get(key);
    if (pending && pending.age === this.age) {
      this.hits++;
      return pending.look.then((found) => found && found.clone());
    }
    return this.look(entries, key, identity, isLetIn);
  }

  private async look(
    entries: Entries,
    key: string,
    identity: Identity,
    isLetIn: (found: TokenWithUser) => boolean,
  ): Promise<TokenWithUser | null> {
    const { age } = this;
    const look = this.lookUp(identity);
    this.pending.set(key, { age, look });
    try {
      const found = await look;
      if (found && this.isOpen && this.age === age && isLetIn(found)) {
        const { userId, lastUsedAt } = found.token;
        const evictAtMs = performance.now() + this.options.cache!.ttlMs;
        entries.set(key, { userId, found, lastUsedAtMs: millisecondsOf(lastUsedAt), evictAtMs });
        this.addKey(userId, key);
      }
      return found;
    } finally {
      if (this.pending.get(key)?.look === look) this.pending.delete(key);
    }
  }

  private lookUp(identity: Identity): Promise<TokenWithUser | null> {
    this.lookUps++;
    return this.lookup.find(identity);
  }

  /** Whether all is heard that others revoke. */
  private get isOpen(): boolean {
    return this.bus === undefined ? this.options.cache?.redis === undefined : this.bus.isUp;
  }

  private forget(userId: string | null): void {
    this.age++;
    if (userId === null) this.entries?.clear();
    else for (const key of this.keysByUser.get(userId) ?? []) this.entries?.delete(key);
    this.onChange(userId);
  }

  private addKey(userId: string, key: string): void {
    const keys = this.keysByUser.get(userId);
    if (keys) keys.add(key);
    else this.keysByUser.set(userId, new Set([key]));
  }

  private removeKey(userId: string, key: string): void {
    const keys = this.keysByUser.get(userId);
    keys?.delete(key);
    if (keys?.size === 0) this.keysByUser.delete(userId);
  }
}
