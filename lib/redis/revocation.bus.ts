import { randomUUID } from 'node:crypto';
import { withTimeout } from '../async/with-timeout.js';
import { describeError } from '../errors/describe-error.js';
import { PackageLogger } from '../errors/package.logger.js';
import { disconnect, isReady, type RedisClient, subscribe, untilReady } from './redis-client.js';

/** The message that means all users, in place of the id of one. */
const ALL_USERS = '';

/** How often a process publishes a heartbeat, which it receives itself over the same connection as the messages of others. */
const HEARTBEAT_MS = 1000;

/** If no heartbeat was received for this long, messages of other processes may be lost too. */
const MAX_SILENCE_MS = 2500;

/** How long the response to a revocation waits for Redis at most. */
const PUBLISH_TIMEOUT_MS = 100;

/** Called for what other processes publish. */
export interface RevocationListener {
  /** The tokens of this user may have changed; null means those of any user. */
  onRevoked(userId: string | null): void;
}

/**
 * Publishes over Redis whose tokens changed, and receives the same from other processes. Redis does not guarantee delivery, so
 * the bus checks that it receives: each second it publishes a heartbeat, which must come back.
 */
export class RevocationBus {
  private readonly logger = new PackageLogger();
  /** The channel on which processes publish the ids of users whose tokens changed. */
  private readonly channel: string;
  private readonly heartbeatChannel: string;
  private readonly subscriber: RedisClient;
  private readonly timer: NodeJS.Timeout;
  private state: 'starting' | 'up' | 'down' | 'closed' = 'starting';
  private receivedAtMs = performance.now();
  /** How many revocations were received, from this process and from others. */
  received = 0;

  /**
   * @param ownsPublisher - whether {@link close} disconnects the client too
   * @param hasUnsentRevocations - whether tokens changed before the bus existed
   * @param namespace - part of the names of the channels, which other applications do not use
   */
  constructor(
    private readonly publisher: RedisClient,
    private readonly ownsPublisher: boolean,
    private readonly listener: RevocationListener,
    private hasUnsentRevocations: boolean,
    namespace: string,
  ) {
    this.channel = `expiring-token:${namespace}:revoked`;
    this.heartbeatChannel = `expiring-token:${namespace}:pulse:${randomUUID()}`;
    this.subscriber = subscribe(publisher, [this.channel, this.heartbeatChannel], {
      onSubscribed: () => void this.heartbeat(),
      onMessage: (channel, message) => this.receive(channel, message),
      onLost: (reason) => this.markDown(reason),
    });
    this.timer = setInterval(() => void this.heartbeat(), HEARTBEAT_MS).unref();
  }

  /** Whether this process receives what others publish. */
  get isUp(): boolean {
    if (performance.now() - this.receivedAtMs > MAX_SILENCE_MS) this.markDown('no heartbeat came back');
    return this.state === 'up';
  }

  /** Publishes that the tokens of a user changed. If that fails, all users are published as soon as Redis is back. */
  async publish(userId: string): Promise<void> {
    if (!this.isUp) {
      this.hasUnsentRevocations = true;
      return;
    }
    try {
      await this.send(this.channel, userId);
    } catch (error) {
      this.hasUnsentRevocations = true;
      this.markDown(describeError(error));
    }
  }

  async close(): Promise<void> {
    // From now on a lost connection is expected, so there is no warning.
    this.state = 'closed';
    clearInterval(this.timer);
    void disconnect(this.subscriber);
    // This is the last chance to publish, so it waits for a connection that is not open yet.
    const flush = () => untilReady(this.publisher).then(() => this.sendUnsent());
    if (this.hasUnsentRevocations) await withTimeout(PUBLISH_TIMEOUT_MS, flush, 'Redis').catch(() => undefined);
    if (this.ownsPublisher) void disconnect(this.publisher);
  }

  private receive(channel: string, message: string): void {
    if (this.state === 'closed') return;
    if (channel === this.channel) {
      this.received++;
      return this.listener.onRevoked(message === ALL_USERS ? null : message);
    }
    this.receivedAtMs = performance.now();
    if (this.state === 'up') return;
    this.state = 'up';
    // Revocations that were published before may be lost.
    this.listener.onRevoked(null);
  }

  private markDown(reason: string): void {
    if (this.state === 'down' || this.state === 'closed') return;
    this.state = 'down';
    this.logger.warn(`Tokens are not cached until Redis answers: ${reason}`);
    this.listener.onRevoked(null);
  }

  private async heartbeat(): Promise<void> {
    try {
      if (this.hasUnsentRevocations) await this.sendUnsent();
      await this.send(this.heartbeatChannel, '');
    } catch {
      // If no heartbeat comes back, `isUp` notices.
    }
  }

  /**
   * Publishes that the tokens of all users may have changed. A revocation that cannot be sent meanwhile sets
   * `hasUnsentRevocations` again and is sent later: other processes may query the database before that revocation is committed.
   */
  private async sendUnsent(): Promise<void> {
    this.hasUnsentRevocations = false;
    try {
      await this.send(this.channel, ALL_USERS);
    } catch (error) {
      this.hasUnsentRevocations = true;
      throw error;
    }
  }

  private async send(channel: string, message: string): Promise<void> {
    if (!isReady(this.publisher)) throw new Error('no connection');
    await withTimeout(PUBLISH_TIMEOUT_MS, () => this.publisher.publish(channel, message), 'Redis');
  }
}
