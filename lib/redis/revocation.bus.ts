import { randomUUID } from 'node:crypto';
import { Logger } from '@nestjs/common';
import { withTimeout } from '../async/with-timeout.js';
import { describeError } from '../errors/describe-error.js';
import { disconnect, isReady, listen, type RedisClient, untilReady } from './redis-client.js';

/** Where processes tell each other whose tokens changed. */
const CHANNEL = 'expiring-token:revoked';

/** Told instead of a user's id: all users. */
const ALL_USERS = '';

/** How often a process sends itself a message, the way that the others' messages come. */
const HEARTBEAT_MS = 1000;

/** Without one for so long, others' messages may not have come either. */
const MAX_SILENCE_MS = 2500;

/** Longest that a revocation waits for Redis before it is answered. */
const PUBLISH_TIMEOUT_MS = 100;

/** Who is told what the other processes say. */
export interface BusListener {
  /** The tokens of a user may have changed; null: those of any user. */
  onRevoked(userId: string | null): void;
}

/**
 * Tells other processes whose tokens changed, over Redis. What it is told may be lost on the way, so it looks whether it
 * hears: each second a message to itself has to come back.
 */
export class RevocationBus {
  private readonly logger = new Logger('ExpiringToken');
  private readonly heartbeatChannel = `expiring-token:pulse:${randomUUID()}`;
  private readonly subscriber: RedisClient;
  private readonly timer: NodeJS.Timeout;
  private state: 'starting' | 'up' | 'down' | 'closed' = 'starting';
  private heardAtMs = performance.now();
  /** How often it was told that tokens changed, by this process or another. */
  received = 0;

  /**
   * @param ownsPublisher - whether the client is ended with this
   * @param hasUnsentRevocations - whether others were not told of a change
   */
  constructor(
    private readonly publisher: RedisClient,
    private readonly ownsPublisher: boolean,
    private readonly listener: BusListener,
    private hasUnsentRevocations: boolean,
  ) {
    this.subscriber = listen(publisher, [CHANNEL, this.heartbeatChannel], {
      onListening: () => void this.heartbeat(),
      onMessage: (channel, message) => this.receive(channel, message),
      onLost: (reason) => this.markDown(reason),
    });
    this.timer = setInterval(() => void this.heartbeat(), HEARTBEAT_MS).unref();
  }

  /** Whether the other processes are heard. */
  get isUp(): boolean {
    if (performance.now() - this.heardAtMs > MAX_SILENCE_MS) this.markDown('no message came back');
    return this.state === 'up';
  }

  /** Tells the others that the tokens of a user changed; as soon as it can be if it cannot be now. */
  async publish(userId: string): Promise<void> {
    if (!this.isUp) {
      this.hasUnsentRevocations = true;
      return;
    }
    try {
      await this.send(CHANNEL, userId);
    } catch (error) {
      this.hasUnsentRevocations = true;
      this.markDown(describeError(error));
    }
  }

  async close(): Promise<void> {
    // That the connection ends now is nothing to warn of.
    this.state = 'closed';
    clearInterval(this.timer);
    void disconnect(this.subscriber);
    // A connection that is still to come is waited for: nothing is done again after this.
    const settle = () => untilReady(this.publisher).then(() => this.sendUnsent());
    if (this.hasUnsentRevocations) await withTimeout(PUBLISH_TIMEOUT_MS, settle, 'Redis').catch(() => undefined);
    if (this.ownsPublisher) void disconnect(this.publisher);
  }

  private receive(channel: string, message: string): void {
    if (this.state === 'closed') return;
    if (channel === CHANNEL) {
      this.received++;
      return this.listener.onRevoked(message === ALL_USERS ? null : message);
    }
    this.heardAtMs = performance.now();
    if (this.state === 'up') return;
    this.state = 'up';
    // What was said before was not heard.
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
      // Silence tells.
    }
  }

  /** What is owed while this is on its way is owed still: others may have asked the database before that was committed. */
  private async sendUnsent(): Promise<void> {
    this.hasUnsentRevocations = false;
    try {
      await this.send(CHANNEL, ALL_USERS);
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
