import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { NAMESPACE, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { openRedis } from '../redis/redis-client.js';
import { RevocationBus } from '../redis/revocation.bus.js';

/** The process in which tokens changed: this one, or another one that reported it over Redis. */
export type ChangeOrigin = 'local' | 'remote';

/** Called when the tokens of a user may have changed, or whether the user may use them; null: those of any user. */
export type ChangeListener = (userId: string | null, origin: ChangeOrigin) => void | Promise<void>;

/**
 * Announces whose tokens changed. This is how a revocation reaches everything that relies on an earlier look-up of a token:
 * the cache, open connections, and the other processes.
 */
@Injectable()
export class TokenChanges {
  private readonly listeners: ChangeListener[] = [];

  /** @param listener - must not throw or reject: a change is reported after the fact, and cannot be refused */
  subscribe(listener: ChangeListener): void {
    this.listeners.push(listener);
  }

  /** Calls all listeners before it returns, and resolves when they are done. */
  async publish(userId: string | null, origin: ChangeOrigin = 'local'): Promise<void> {
    await Promise.all(this.listeners.map(async (listener) => listener(userId, origin)));
  }
}

/**
 * Connects the {@link TokenChanges} of all processes over Redis, if the option `cache.redis` is set: changes of this process
 * are sent to the others, and theirs are published here.
 */
@Injectable()
export class RemoteChanges implements OnApplicationBootstrap, OnApplicationShutdown {
  private readonly redis: unknown;
  private bus?: RevocationBus;
  /** Whether tokens changed before there was a bus to send it. */
  private hasUnsent = false;

  constructor(
    @Inject(RESOLVED_OPTIONS) { cache }: ResolvedOptions,
    @Inject(NAMESPACE) private readonly namespace: string,
    private readonly changes: TokenChanges,
  ) {
    this.redis = cache?.redis;
    if (this.redis !== undefined) changes.subscribe((userId, origin) => this.send(userId, origin));
  }

  async onApplicationBootstrap(): Promise<void> {
    if (this.redis === undefined) return;
    const { client, isOwn } = await openRedis('cache.redis', this.redis);
    const onRevoked = (userId: string | null) => void this.changes.publish(userId, 'remote');
    this.bus = new RevocationBus(client, isOwn, { onRevoked }, this.hasUnsent, this.namespace);
  }

  async onApplicationShutdown(): Promise<void> {
    await this.bus?.close();
  }

  /** Whether the changes of other processes arrive here now; always true without the option `cache.redis`. */
  get isComplete(): boolean {
    return this.bus === undefined ? this.redis === undefined : this.bus.isUp;
  }

  /** How many changes Redis delivered, of this process and of others. */
  get received(): number {
    return this.bus?.received ?? 0;
  }

  private async send(userId: string | null, origin: ChangeOrigin): Promise<void> {
    if (origin === 'remote' || userId === null) return;
    if (this.bus) await this.bus.publish(userId);
    else this.hasUnsent = true;
  }
}
