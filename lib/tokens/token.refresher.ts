import { Inject, Injectable } from '@nestjs/common';
import { withTimeout } from '../async/with-timeout.js';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { orUnavailable } from '../errors/service-unavailable.js';
import { RESOLVED_OPTIONS, USER_STORE } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { isActiveUser, type UserStore } from '../users/user-store.js';
import { sanitizeLabel, toAsciiLabel } from './device.js';
import type { Emit } from './events/token.events.js';
import { type Presentation, RefreshTransactions } from './transactions/refresh.transactions.js';
import { type Identity, identifyToken, matchesDigest } from './secret/token-secret.js';
import { rulesOf } from './token-purpose.js';
import type { Token } from './token.entity.js';
import type { DeviceOptions, IssuedPair } from './token.interfaces.js';
import { TokenPruner } from './token.pruner.js';
import { TokenStore } from './token.store.js';
import { UserTransactions } from './transactions/user.transactions.js';

/** How many requests with one refresh token may wait: a page that opens many connections refreshes for each of them. */
const MAX_WAITING = 60;

/** Exchanges refresh tokens. */
@Injectable()
export class TokenRefresher {
  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(USER_STORE) private readonly users: UserStore,
    private readonly store: TokenStore,
    private readonly scripts: RefreshTransactions,
    private readonly transactions: UserTransactions,
    private readonly pruner: TokenPruner,
  ) {}

  /**
   * The pair of tokens that follows a refresh token.
   *
   * @param request - what is known of the request that presents it
   * @throws ExpiringTokenException `refresh_invalid`, `user_inactive` or `unavailable`
   * @throws Error without the option `refresh`
   */
  async refresh(refreshToken: string, request: Pick<DeviceOptions, 'userAgent'>): Promise<IssuedPair> {
    if (!this.options.refresh) throw new Error('ExpiringTokenService.refresh needs the option refresh');
    const identity = identifyToken([this.options.prefix], refreshToken, this.options.imported);
    if (!identity) throw new ExpiringTokenException('refresh_invalid');
    return orUnavailable(() =>
      withTimeout(this.options.timeoutMs, async (signal) => {
        const { id, userId } = await this.find(identity, signal);
        const isActive = isActiveUser(this.users, await this.users.findById(userId));
        const presentation = { userAgent: sanitizeLabel(request.userAgent), refreshToken, isActive };
        const exchange = (given: Presentation) => (emit: Emit) => this.scripts.refresh(id, given, emit);
        const pair = await this.transactions.runUntil(signal, userId, exchange(presentation), {
          by: id,
          maxWaiting: MAX_WAITING,
          // The encoding of the database may lack a character of the user agent, which a repeated request is compared with.
          fallbacks: [exchange({ ...presentation, userAgent: toAsciiLabel(presentation.userAgent) })],
        });
        if (!pair) throw new ExpiringTokenException('refresh_invalid');
        this.pruner.scheduleSealedCleanup();
        return pair;
      }),
    );
  }

  private async find({ id, digested }: Identity, signal: AbortSignal): Promise<Token> {
    const found = await this.store.find(id, signal);
    if (found && rulesOf(found.token.purpose)?.refreshes && matchesDigest(digested, found.digest)) return found.token;
    throw new ExpiringTokenException('refresh_invalid');
  }
}
