import { Inject, Injectable } from '@nestjs/common';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { rethrowAsUnavailable } from '../errors/service-unavailable.js';
import { RESOLVED_OPTIONS, USER_STORE } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { isActiveUser, type UserStore } from '../users/user-store.js';
import { TokenEvents } from './events/token.events.js';
import { LastUse } from './last-use.js';
import { identifyToken } from './secret/token-secret.js';
import { TokenValidity } from './token-lifetime.js';
import { TokenCache } from './lookup/token.cache.js';
import type { Token } from './token.entity.js';
import { actorOf } from './device.js';
import type { Authentication, CacheStatus } from './token.interfaces.js';
import { TokenLookup, type TokenWithUser } from './lookup/token.lookup.js';

/**
 * Authenticates presented tokens. Every guarded request passes through here: the token is identified by its text, found in
 * the cache or the database, checked, and its use is noted.
 */
@Injectable()
export class TokenAuthenticator {
  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(USER_STORE) private readonly users: UserStore,
    private readonly validity: TokenValidity,
    private readonly cache: TokenCache,
    private readonly lookup: TokenLookup,
    private readonly lastUse: LastUse,
    private readonly events: TokenEvents,
  ) {}

  /**
   * The user and the row of a presented token, whose use is noted.
   *
   * @throws ExpiringTokenException `token_invalid`, `token_expired`, `user_inactive` or `unavailable`
   */
  async authenticate(plainText: string): Promise<Authentication> {
    const identity = identifyToken(this.options.prefixes, plainText, this.options.imported);
    if (!identity) throw new ExpiringTokenException('token_invalid');
    try {
      const found = this.cache.find(identity, this.isAccepted);
      const { user, token } = found instanceof Promise ? this.assertUsable(await found) : found;
      const lastUsedAt = this.lastUse.note(token);
      if (lastUsedAt !== token.lastUsedAt) this.cache.touch(identity, lastUsedAt);
      return { user, token };
    } catch (error) {
      return rethrowAsUnavailable(error);
    }
  }

  /**
   * The row of a token, read from the database and not from the cache. It does not count as a use. This is for what was
   * accepted earlier and is still open, such as a socket.
   *
   * @throws ExpiringTokenException `token_invalid`, `token_expired` or `user_inactive`
   * @throws the error of the database unchanged, if it cannot be read
   */
  async introspect(plainText: string): Promise<Token> {
    const identity = identifyToken(this.options.prefixes, plainText, this.options.imported);
    return this.assertUsable(identity && (await this.lookup.find(identity))).token;
  }

  get cacheStatus(): CacheStatus {
    return this.cache.status;
  }

  private assertUsable(found: TokenWithUser | null): Authentication {
    if (!found) throw new ExpiringTokenException('token_invalid');
    const { token, user } = found;
    if (!isActiveUser(this.users, user)) throw new ExpiringTokenException('user_inactive');
    if (!this.validity.isLive(token)) {
      const { userId, deviceId } = token;
      this.events.emit('expiring-token.expired', { userId, deviceId, ...actorOf(token) });
      throw new ExpiringTokenException('token_expired', { statusCode: this.options.expiredStatus });
    }
    return { user, token };
  }

  private readonly isAccepted = ({ token, user }: TokenWithUser): boolean =>
    isActiveUser(this.users, user) && this.validity.isLive(token);
}
