import { Inject, Injectable } from '@nestjs/common';
import pLimit from 'p-limit';
import { withTimeout } from '../../async/with-timeout.js';
import { ExpiringTokenException } from '../../errors/expiring-token.exception.js';
import { RESOLVED_OPTIONS, USER_STORE } from '../../expiring-token.constants.js';
import type { ResolvedOptions } from '../../options/resolve-options.js';
import { TokenEvents } from '../../tokens/events/token.events.js';
import type { HttpRequest } from '../../transports/http-request.js';
import { isUserId } from '../../users/user-id.js';
import type { UserStore } from '../../users/user-store.js';
import { parseClientAddress } from './client-network.js';

/** Look-ups that run at the same time: they must not take the connections of the database from requests. */
const CONCURRENCY = 2;

/** Look-ups that may wait. During an attack further events are emitted without a user. */
const MAX_WAITING = 30;

/** Emits the event `expiring-token.login-failed`, with the user whose name was sent. */
@Injectable()
export class LoginFailures {
  private readonly limit = pLimit(CONCURRENCY);

  constructor(
    @Inject(USER_STORE) private readonly users: UserStore,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    private readonly events: TokenEvents,
  ) {}

  /**
   * Emits the event later: the user is looked up when the request has its answer, which neither waits for that nor shows whether
   * the user exists.
   *
   * @param username - exactly as sent
   */
  report({ ip }: HttpRequest, username: string, error: unknown): void {
    if (!this.events.hasListeners('expiring-token.login-failed')) return;
    const code = error instanceof ExpiringTokenException ? error.code : null;
    const address = ip === undefined ? null : (parseClientAddress(ip)?.address ?? ip);
    const emit = (userId: string | null) => this.events.emit('expiring-token.login-failed', { code, userId, address });
    setImmediate(() => {
      if (this.limit.pendingCount >= MAX_WAITING) emit(null);
      else void this.limit(() => this.findUserId(username)).then(emit);
    });
  }

  /** Returns the id of the user with a name, or null if the store does not know it, or cannot tell in time. */
  private async findUserId(username: string): Promise<string | null> {
    try {
      const { users } = this;
      if (!users.findByUsername) return null;
      const user = await withTimeout(
        this.options.timeoutMs,
        async () => users.findByUsername!(username),
        'the user store',
      );
      const userId: unknown = typeof user === 'object' && user !== null ? users.getId(user) : null;
      return isUserId(userId) ? userId : null;
    } catch {
      return null;
    }
  }
}
