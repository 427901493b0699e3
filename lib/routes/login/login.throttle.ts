import { createHash } from 'node:crypto';
import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { KeyedQueue } from '../../async/keyed-queue.js';
import { NAMESPACE, RESOLVED_OPTIONS, USER_STORE } from '../../expiring-token.constants.js';
import { PackageLogger } from '../../errors/package.logger.js';
import { ExpiringTokenException } from '../../errors/expiring-token.exception.js';
import { orUnavailable } from '../../errors/service-unavailable.js';
import type { ResolvedOptions } from '../../options/resolve-options.js';
import type { UserStore } from '../../users/user-store.js';
import type { AttemptCounter, Slot, ThrottleOptions } from './attempt-counter.js';
import { countedNameOf } from './canonical-name.js';
import { parseClientAddress } from './client-network.js';
import { MemoryCounter } from './memory.counter.js';
import { RedisCounter } from './redis.counter.js';

/**
 * Attempts of one key that may wait or run at the same time: enough for a crowd behind one address, and a bound to the memory
 * that an attacker can fill.
 */
const MAX_QUEUED_ATTEMPTS = 1000;

/** A digest of a name or address: keys have a bounded length, and names are not readable in Redis. */
const digestOf = (value: string): string => createHash('sha256').update(value).digest('base64url');

/** The only member of an address. */
const WHOLE_ADDRESS = 'all';

/** All addresses that cannot be read count as this one. */
const UNKNOWN_NETWORK = 'unknown';

const createCounter = (options: ThrottleOptions, namespace: string): AttemptCounter =>
  options.redis === undefined ? new MemoryCounter(options) : new RedisCounter(options, namespace);

/** An attempt to log in that may look at the password now. Exactly one of the methods is called, when the outcome is known. */
export interface LoginAttempt {
  /** The credentials are right: clears the failures of the name, and returns the slot of the address. */
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
  /** Returns all slots of the member. */
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

  private readonly logger = new PackageLogger();
  private isUnreadableAddressLogged = false;

  constructor(
    @Inject(RESOLVED_OPTIONS) { loginThrottle }: ResolvedOptions,
    @Inject(NAMESPACE) namespace: string,
    @Inject(USER_STORE) private readonly users: Pick<UserStore, 'canonicalName'>,
  ) {
    this.counter = loginThrottle && createCounter(loginThrottle, namespace);
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
   * @throws ExpiringTokenException `throttled` if too many attempts have failed; `unavailable` if too many are waiting, or if
   * the store has no canonical name for this one
   */
  async acquire(address: string | undefined, username: string): Promise<LoginAttempt> {
    const { counter } = this;
    if (!counter) return UNLIMITED;
    const { canonical, cleared } = await orUnavailable(async () => countedNameOf(this.users, username));
    // The address first: an address that is refused must not fill the counters with names.
    const ofAddress = await this.acquireSlot(counter, `address:${digestOf(this.networkOf(address))}`, WHOLE_ADDRESS);
    let ofName: HeldSlot;
    try {
      ofName = await this.acquireSlot(counter, `name:${digestOf(canonical)}`, digestOf(cleared));
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

  /** An address that cannot be read is not counted as it is: otherwise each invented text would have a counter. */
  private networkOf(address: string | undefined): string {
    const network = parseClientAddress(address ?? '')?.network;
    if (network !== undefined) return network;
    if (!this.isUnreadableAddressLogged) {
      this.isUnreadableAddressLogged = true;
      this.logger.warn(
        `The address of a client cannot be read: ${JSON.stringify(address?.slice(0, 100) ?? null)}. All such clients ` +
          'share one counter of failed logins. Set trust proxy (Express) or trustProxy (Fastify) to the addresses of your proxies',
      );
    }
    return UNKNOWN_NETWORK;
  }

  private async acquireSlot(counter: AttemptCounter, key: string, member: string): Promise<HeldSlot> {
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
      const slot = await this.queue.run(key, () => this.waitForSlot(attempts, () => counter.consume(key, member)));
      return {
        keep: release,
        refund: () => slot.refund().finally(release),
        clear: () => counter.clear(key, member).finally(release),
      };
    } catch (error) {
      leave();
      throw error;
    }
  }

  private async waitForSlot(attempts: KeyAttempts, consume: () => Promise<Slot>): Promise<Slot> {
    for (;;) {
      const { ended } = attempts;
      const slot = await consume();
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
