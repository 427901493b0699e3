import { Inject, Injectable } from '@nestjs/common';
import { withTimeout } from '../async/with-timeout.js';
import type { TransactionScript } from '../database/database.js';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { orUnavailable } from '../errors/service-unavailable.js';
import { RESOLVED_OPTIONS, USER_STORE } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { checkUserId } from '../users/user-id.js';
import {
  type Credentials,
  isActiveUser,
  type TransactionalUserStore,
  type UserStore,
  type VerifiedState,
  VERIFY_AGAIN,
} from '../users/user-store.js';
import type { Emit } from './events/token.events.js';
import type { DeviceOptions, IssuedToken, LoggedIn } from './token.interfaces.js';
import { TokenTransactions } from './token.transactions.js';
import { type ApplicationCondition, UserTransactions } from './user.transactions.js';

/**
 * The stored hash of the password is not the one that was verified. The password may be another one now, or another login may
 * have replaced the hash by a stronger one: only a new verification can say.
 */
export class PasswordHashChanged extends ExpiringTokenException {
  constructor() {
    super('credentials_invalid');
  }
}

/**
 * Issues tokens to users who were just verified. What was verified must still hold when the token is issued: a login with
 * the old password that runs while the password changes must not get a token after it.
 */
@Injectable()
export class TokenIssuer {
  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(USER_STORE) private readonly users: UserStore & Partial<TransactionalUserStore>,
    private readonly scripts: TokenTransactions,
    private readonly transactions: UserTransactions,
  ) {}

  /**
   * Issues a token to a new device, and a refresh token if the option `refresh` is set.
   *
   * @param user - as the store returned it when it verified the credentials
   * @param credentials - null if the user was not verified by credentials
   * @throws ExpiringTokenException `credentials_invalid` if they are no longer valid, or without credentials `user_inactive`;
   * `limit_reached`; `unavailable`
   * @throws PasswordHashChanged if the credentials must be verified again
   */
  logIn(user: unknown, credentials: Credentials | null, device: DeviceOptions): Promise<LoggedIn> {
    return this.issue(
      user,
      credentials,
      (userId, emit) => this.scripts.logIn(userId, device, emit),
      ({ access }) => access,
    );
  }

  /** Issues the one token of a user that can be obtained again. The parameters and errors are those of {@link logIn}. */
  obtain(user: unknown, credentials: Credentials | null, device: DeviceOptions): Promise<IssuedToken> {
    return this.issue(
      user,
      credentials,
      (userId, emit) => this.scripts.obtain(userId, device, emit),
      (access) => access,
    );
  }

  /**
   * Finds a user who may log in.
   *
   * @throws ExpiringTokenException `user_inactive`; `unavailable`
   */
  async findActiveUser(userId: string): Promise<unknown> {
    checkUserId(userId);
    const user = await orUnavailable(() => withTimeout(this.options.timeoutMs, () => this.users.findById(userId)));
    if (!isActiveUser(this.users, user) || this.users.getId(user) !== userId) {
      throw new ExpiringTokenException('user_inactive');
    }
    return user;
  }

  private async issue<T>(
    user: unknown,
    credentials: Credentials | null,
    script: (userId: string, emit: Emit) => TransactionScript<T>,
    accessOf: (issued: T) => IssuedToken,
  ): Promise<T> {
    const userId = this.users.getId(user);
    checkUserId(userId);
    const invalid = () => new ExpiringTokenException(credentials ? 'credentials_invalid' : 'user_inactive');
    const { users, scripts } = this;
    const verified = function* (emit: Emit): TransactionScript<T> {
      const state: VerifiedState = users[VERIFY_AGAIN] ? yield* users[VERIFY_AGAIN](user) : 'valid';
      if (state === 'inactive') throw invalid();
      if (state === 'changed') throw new PasswordHashChanged();
      return yield* script(userId, emit);
    };
    const condition: ApplicationCondition<T> | undefined =
      credentials && users.isStillValid
        ? {
            check: async () => {
              const isStillValid: unknown = await users.isStillValid!(user, credentials);
              if (isStillValid !== true) throw invalid();
            },
            undo: (issued, emit) => scripts.revoke(userId, accessOf(issued).token.deviceId, 'revoked', emit),
          }
        : undefined;
    return this.transactions.run(userId, verified, { condition });
  }
}
