import { Inject, Injectable } from '@nestjs/common';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { rethrowAsUnavailable } from '../errors/service-unavailable.js';
import { RESOLVED_OPTIONS, USER_STORE } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { isActiveUser, type UserStore } from '../users/user-store.js';
import { TokenEvents } from './events/token.events.js';
import { LastUse } from './last-use.js';
import { type Identity, identifyToken } from './secret/token-secret.js';
import { TokenValidity } from './token-lifetime.js';
import type { FoundToken } from './lookup/found-token.js';
import { TokenCache } from './lookup/token.cache.js';
import type { Token } from './token.entity.js';
import { actorOf } from './device.js';
import type { Authentication, CacheStatus } from './token.interfaces.js';
import { TokenLookup } from './lookup/token.lookup.js';

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
   * The user and the row of a presented token, whose use is noted. Not a promise if the token is cached and accepted: a chain
   * of promises would take as long as the rest.
   *
   * @throws ExpiringTokenException `token_invalid`, `token_expired`, `user_inactive` or `unavailable`
   */
  authenticate(plainText: string): Authentication | Promise<Authentication> {
    const identity = identifyToken(this.options.prefixes, plainText, this.options.imported);
    if (!identity) throw new ExpiringTokenException('token_invalid');
    try {
      const found = this.cache.find(identity, this.isAccepted);
      return found instanceof Promise ? this.acceptWhenFound(identity, found) : this.accept(identity, found);
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

  private async acceptWhenFound(identity: Identity, finding: Promise<FoundToken | null>): Promise<Authentication> {
    try {
      return this.accept(identity, this.assertUsable(await finding));
    } catch (error) {
      return rethrowAsUnavailable(error);
    }
  }

  private accept(identity: Identity, found: FoundToken): Authentication {
    const { columns } = found;
    const lastUsedAt = this.lastUse.note(columns);
    if (lastUsedAt !== columns.lastUsedAt) this.cache.touch(identity, lastUsedAt);
    return found;
  }

  private assertUsable(found: FoundToken | null): FoundToken {
    if (!found) throw new ExpiringTokenException('token_invalid');
    if (!isActiveUser(this.users, found.user)) throw new ExpiringTokenException('user_inactive');
    if (!this.validity.isLive(found.columns)) {
      const { userId, deviceId } = found.token;
      this.events.emit('expiring-token.expired', { userId, deviceId, ...actorOf(found.token) });
      throw new ExpiringTokenException('token_expired', { statusCode: this.options.expiredStatus });
    }
    return found;
  }

  private readonly isAccepted = ({ columns, user }: FoundToken): boolean =>
    isActiveUser(this.users, user) && this.validity.isLive(columns);
}
