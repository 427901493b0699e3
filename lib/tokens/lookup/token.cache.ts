import { Inject, Injectable } from '@nestjs/common';
import { createLRU } from 'lru.min';
import { RESOLVED_OPTIONS } from '../../expiring-token.constants.js';
import type { ResolvedOptions } from '../../options/resolve-options.js';
import { digestKey, type Identity } from '../secret/token-secret.js';
import { RemoteChanges, TokenChanges } from '../token-changes.js';
import type { CacheStatus } from '../token.interfaces.js';
import type { CheckedColumns } from '../token.queries.js';
import type { FoundToken } from './found-token.js';
import { RecentChanges } from './recent-changes.js';
import { TokenLookup } from './token.lookup.js';

interface Entry {
  readonly found: FoundToken;
  /** Those of the row, but for the last use, which is the one that this process knows of. */
  columns: CheckedColumns;
  /** End of the option `cache.ttl`, by `performance.now()`: a correction of the system clock cannot prolong it. */
  readonly evictAtMs: number;
}

interface PendingLookUp {
  /** The position in {@link RecentChanges} at which it began. */
  readonly since: number;
  readonly found: Promise<FoundToken | null>;
}

type Entries = ReturnType<typeof createLRU<string, Entry>>;

/**
 * Caches accepted tokens, if the option `cache` is set: their digests, rows and users. Whether a token is still valid is
 * checked on each request, and a token that is not accepted is looked up again.
 *
 * A user's entries are evicted when this process, or another one via Redis, changes that user's tokens. A look-up of a token
 * of this user that was under way at that moment may have read the state before the change. Its result is not cached, and no
 * request that arrived after the change gets it. Changes of other users do not affect the look-up.
 */
@Injectable()
export class TokenCache {
  private readonly entries: Entries | null;
  private readonly keysByUser = new Map<string, Set<string>>();
  /** Look-ups that are under way, by key: another request for the same token waits for the same look-up. */
  private readonly pending = new Map<string, PendingLookUp>();
  private readonly changes = new RecentChanges();
  private hits = 0;
  private lookUps = 0;

  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    changes: TokenChanges,
    private readonly remote: RemoteChanges,
    private readonly lookup: TokenLookup,
  ) {
    const { cache } = options;
    this.entries =
      cache &&
      createLRU({
        max: cache.max,
        // Called for each entry that leaves: deleted, replaced, pushed out by a newer one, or cleared.
        onEviction: (key, { columns }) => this.removeKey(columns.userId, key),
      });
    changes.subscribe((userId) => this.evict(userId));
  }

  /**
   * The token and its user; null if there is no such token. Not a promise if the token is cached and accepted, because one
   * would take as long as the rest.
   *
   * @param isAccepted - whether a request is accepted with the token, which is the condition for caching it
   */
  find(identity: Identity, isAccepted: (found: FoundToken) => boolean): FoundToken | Promise<FoundToken | null> {
    const { entries } = this;
    // Not even a look-up that is under way is shared: since it began, another process may have revoked the token.
    if (!entries || !this.remote.isComplete) return this.load(identity);
    const key = digestKey(identity.digested);
    return this.findCached(entries, key, isAccepted) ?? this.findPending(entries, key, identity, isAccepted);
  }

  get status(): CacheStatus {
    const { hits, lookUps } = this;
    const isOpen = this.entries !== null && this.remote.isComplete;
    return { isOpen, size: this.entries?.size ?? 0, hits, lookUps, revocations: this.remote.received };
  }

  /** Updates the last use of a cached token. Otherwise each request would store a use until the next look-up. */
  touch(identity: Identity, lastUsedAt: Date | null): void {
    const entry = this.entries?.peek(digestKey(identity.digested));
    if (entry) entry.columns = { ...entry.columns, lastUsedAt };
  }

  private findCached(
    entries: Entries,
    key: string,
    isAccepted: (found: FoundToken) => boolean,
  ): FoundToken | undefined {
    const entry = entries.get(key);
    if (!entry) return undefined;
    if (entry.evictAtMs <= performance.now()) {
      entries.delete(key);
      return undefined;
    }
    const found = entry.found.clone(entry.columns);
    if (!isAccepted(found)) return undefined;
    this.hits++;
    return found;
  }

  private async findPending(
    entries: Entries,
    key: string,
    identity: Identity,
    isAccepted: (found: FoundToken) => boolean,
  ): Promise<FoundToken | null> {
    const arrival = this.changes.position;
    for (let pending = this.pending.get(key); pending; pending = this.pending.get(key)) {
      const { since } = pending;
      const found = await pending.found;
      // Otherwise the look-up may have read what changed before this request arrived. One that began later has not.
      if (since >= arrival || !this.hasChanged(found, since)) {
        this.hits++;
        return found && found.clone();
      }
    }
    return this.loadInto(entries, key, identity, isAccepted);
  }

  private async loadInto(
    entries: Entries,
    key: string,
    identity: Identity,
    isAccepted: (found: FoundToken) => boolean,
  ): Promise<FoundToken | null> {
    const since = this.changes.position;
    const pending = this.load(identity).finally(() => this.pending.delete(key));
    this.pending.set(key, { since, found: pending });
    const found = await pending;
    if (found && this.remote.isComplete && !this.hasChanged(found, since) && isAccepted(found)) {
      const { columns } = found;
      entries.set(key, { found, columns, evictAtMs: performance.now() + this.options.cache!.ttlMs });
      this.addKey(columns.userId, key);
    }
    return found;
  }

  private hasChanged(found: FoundToken | null, since: number): boolean {
    return this.changes.hasSince(since, found && found.columns.userId);
  }

  private load(identity: Identity): Promise<FoundToken | null> {
    this.lookUps++;
    return this.lookup.find(identity);
  }

  private evict(userId: string | null): void {
    this.changes.add(userId);
    if (userId === null) this.entries?.clear();
    else for (const key of this.keysByUser.get(userId) ?? []) this.entries?.delete(key);
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
