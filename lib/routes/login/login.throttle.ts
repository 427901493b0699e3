import { createHash } from 'node:crypto';
import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { KeyedQueue } from '../../async/keyed-queue.js';
import { RESOLVED_OPTIONS } from '../../expiring-token.constants.js';
import { ExpiringTokenException } from '../../errors/expiring-token.exception.js';
import type { ResolvedOptions } from '../../options/resolve-options.js';
import type { AttemptCounter, Slot } from './attempt-counter.js';
import { networkOf } from './client-network.js';
import { MemoryCounter } from './memory.counter.js';
import { RedisCounter } from './redis.counter.js';

/**
 * Attempts of one key that may wait or run at the same time: enough for a crowd behind one address, and a bound to the memory
 * that an attacker can fill.
 */
const MAX_QUEUED_ATTEMPTS = 1000;

/** A digest of the name or address: keys have a bounded length, and names are not readable in Redis. */
const keyOf = (kind: 'address' | 'name', value: string): string =>
  `${kind}:${createHash('sha256').update(value).digest('base64url')}`;

/** An attempt to log in that may look at the password now. Exactly one of the methods is called, when the outcome is known. */
export interface LoginAttempt {
  /** The credentials are right: clears the counter of the name, and returns the slot of the address. */
  succeeded(): Promise<void>;
  /** The credentials were refused: the name and the address keep a slot each until their windows end. */
  failed(): Promise<void>;
  /** The attempt ended without a judgement of the credentials: returns both slots. */
  cancelled(): Promise<void>;
}

/** With the option `loginThrottle: false`. */
const UNLIMITED: LoginAttempt = {
  succeeded: async () => undefined,
  failed: async () => undefined,
  cancelled: async () => undefined,
};

/** The attempts of one key in this process. */
class KeyAttempts {
  /** Those that wait for a slot, and those that hold one. */
  size = 0;
  /** Those that hold a slot. */
  running = 0;
  /** Those that held a slot and ended. */
  ended = 0;
  private onEnd: (() => void) | undefined;

  end(): void {
    this.running--;
    this.ended++;
    this.onEnd?.();
  }

  nextEnd(): Promise<void> {
    return new Promise((resolve) => {
      this.onEnd = resolve;
    });
  }
}

/** A slot that an attempt holds while the password is checked. Each method ends that. */
interface HeldSlot {
  /** Leaves the attempt counted. */
  keep(): void;
  /** Returns the slot. */
  refund(): Promise<void>;
  /** Returns all slots of the key. */
  clear(): Promise<void>;
}

/**
 * Limits failed logins by user name and by address. An attempt takes a slot of each before the password is looked at, so that
 * simultaneous attempts cannot exceed the limit.
 */
@Injectable()
export class LoginThrottle implements OnApplicationBootstrap, OnApplicationShutdown {
  private readonly counter: AttemptCounter | null;
  /** Attempts of one key take their slots in the order in which they came. */
  private readonly queue = new KeyedQueue();
  private readonly attempts = new Map<string, KeyAttempts>();

  constructor(@Inject(RESOLVED_OPTIONS) { loginThrottle }: ResolvedOptions) {
    this.counter = loginThrottle && new (loginThrottle.redis ? RedisCounter : MemoryCounter)(loginThrottle);
  }

  async onApplicationBootstrap(): Promise<void> {
    await this.counter?.connect?.();
  }

  onApplicationShutdown(): void {
    this.counter?.close();
  }

  /**
   * Takes a slot of the address and a slot of the name. Waits while a running attempt may still free one.
   *
   * @param address - `request.ip` of the framework
   * @param username - exactly as sent
   * @throws ExpiringTokenException `throttled` if too many attempts have failed; `unavailable` if too many are waiting
   */
  async acquire(address: string | undefined, username: string): Promise<LoginAttempt> {
    const { counter } = this;
    if (!counter) return UNLIMITED;
    // The address first: an address that is refused must not fill the counters with names.
    const ofAddress = await this.acquireSlot(counter, keyOf('address', networkOf(address)));
    let ofName: HeldSlot;
    try {
      ofName = await this.acquireSlot(counter, keyOf('name', username));
    } catch (error) {
      await ofAddress.refund();
      throw error;
    }
    return {
      async succeeded() {
        await ofName.clear();
        await ofAddress.refund();
      },
      async failed() {
        ofName.keep();
        ofAddress.keep();
      },
      async cancelled() {
        await ofName.refund();
        await ofAddress.refund();
      },
    };
  }

  private async acquireSlot(counter: AttemptCounter, key: string): Promise<HeldSlot> {
    const attempts = this.attempts.get(key) ?? new KeyAttempts();
    if (attempts.size >= MAX_QUEUED_ATTEMPTS) throw new ExpiringTokenException('unavailable');
    this.attempts.set(key, attempts);
    attempts.size++;
    const leave = () => {
      if (--attempts.size === 0) this.attempts.delete(key);
    };
    const release = () => {
      attempts.end();
      leave();
    };
    try {
      const slot = await this.queue.run(key, () => this.waitForSlot(counter, key, attempts));
      return {
        keep: release,
        refund: () => slot.refund().finally(release),
        clear: () => counter.clear(key).finally(release),
      };
    } catch (error) {
      leave();
      throw error;
    }
  }

  private async waitForSlot(counter: AttemptCounter, key: string, attempts: KeyAttempts): Promise<Slot> {
    for (;;) {
      const { ended } = attempts;
      const slot = await counter.consume(key);
      if (slot.refusedForMs === null) {
        attempts.running++;
        return slot;
      }
      // An attempt that ended while the counter answered may have returned its slot.
      if (attempts.ended > ended) continue;
      if (attempts.running === 0) {
        const retryAfterSeconds = Math.max(1, Math.ceil(slot.refusedForMs / 1000));
        throw new ExpiringTokenException('throttled', { retryAfterSeconds });
      }
      await attempts.nextEnd();
    }
  }
}
