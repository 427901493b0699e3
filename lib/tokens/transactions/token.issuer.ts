import { Inject, Injectable } from '@nestjs/common';
import { withTimeout } from '../../async/with-timeout.js';
import type { TransactionScript } from '../../database/database.js';
import { ExpiringTokenException } from '../../errors/expiring-token.exception.js';
import { orUnavailable } from '../../errors/service-unavailable.js';
import { RESOLVED_OPTIONS, USER_STORE } from '../../expiring-token.constants.js';
import type { ResolvedOptions } from '../../options/resolve-options.js';
import { checkUserId } from '../../users/user-id.js';
import {
  CREDENTIAL_CHECKS,
  type Credentials,
  isActiveUser,
  type TransactionalUserStore,
  type UserStore,
  type VerifiedState,
} from '../../users/user-store.js';
import { withoutUnstorable } from '../device.js';
import type { Emit } from '../events/token.events.js';
import type { DeviceOptions, IssuedToken, LoggedIn } from '../token.interfaces.js';
import { TokenTransactions } from './token.transactions.js';
import { type ApplicationCondition, UserTransactions } from './user.transactions.js';

/**
 * The stored hash of the password is not the one that was verified. The password may be another one now, or another login may
 * have replaced the hash by a stronger one: only a new verification can say.
 */
class PasswordHashChanged extends ExpiringTokenException {
  constructor() {
    super('credentials_invalid');
  }
}

/** How often a login is verified at most. A second time is needed after another login replaced the hash by a stronger one. */
const MAX_VERIFICATIONS = 3;

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
   */
  logIn(user: unknown, credentials: Credentials | null, device: DeviceOptions): Promise<LoggedIn> {
    return this.issue(
      user,
      credentials,
      device,
      (...parameters) => this.scripts.logIn(...parameters),
      ({ access }) => access,
    );
  }

  /** Issues the one token of a user that can be obtained again. The parameters and errors are those of {@link logIn}. */
  obtain(user: unknown, credentials: Credentials | null, device: DeviceOptions): Promise<IssuedToken> {
    return this.issue(
      user,
      credentials,
      device,
      (...parameters) => this.scripts.obtain(...parameters),
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
    device: DeviceOptions,
    script: (userId: string, device: DeviceOptions, emit: Emit) => TransactionScript<T>,
    accessOf: (issued: T) => IssuedToken,
  ): Promise<T> {
    const userId = this.users.getId(user);
    checkUserId(userId);
    const condition = this.conditionOf(userId, user, credentials, accessOf);
    let hash: unknown = credentials ? await this.verifiedHash(user, credentials) : undefined;
    for (let verification = 1; ; verification++) {
      const verified = hash;
      const checkAndIssue = (labels: DeviceOptions) => (emit: Emit) =>
        this.checkAndIssue(user, credentials, verified, script(userId, labels, emit));
      const fallbacks = withoutUnstorable(device).map(checkAndIssue);
      try {
        return await this.transactions.run(userId, checkAndIssue(device), { condition, fallbacks });
      } catch (error) {
        if (!(error instanceof PasswordHashChanged) || !credentials || verification === MAX_VERIFICATIONS) throw error;
        hash = await this.verifyOnceMore(user, credentials);
      }
    }
  }

  private *checkAndIssue<T>(
    user: unknown,
    credentials: Credentials | null,
    hash: unknown,
    script: TransactionScript<T>,
  ): TransactionScript<T> {
    const checks = this.users[CREDENTIAL_CHECKS];
    const state: VerifiedState = checks ? yield* checks.verifyAgain(user, hash) : 'valid';
    if (state === 'inactive') throw invalid(credentials);
    if (state === 'changed') throw new PasswordHashChanged();
    return yield* script;
  }

  /** The hash that must not change until the token is issued; undefined if the store does not compare hashes of its own. */
  private async verifiedHash(user: unknown, credentials: Credentials): Promise<unknown> {
    const checks = this.users[CREDENTIAL_CHECKS];
    if (!checks) return undefined;
    const hash = checks.verifiedHash(user, credentials);
    return hash === undefined && !this.users.isStillValid ? this.verifyOnceMore(user, credentials) : hash;
  }

  /**
   * Verifies credentials again, after the hash was read. If the hash is still the same when the token is issued, the password
   * did not change since before this verification.
   */
  private async verifyOnceMore(user: unknown, credentials: Credentials): Promise<unknown> {
    const { users } = this;
    return orUnavailable(async () => {
      const hash = await users[CREDENTIAL_CHECKS]!.currentHash(user);
      const verified = await users.validateCredentials(credentials);
      if (!isActiveUser(users, verified) || users.getId(verified) !== users.getId(user)) throw invalid(credentials);
      return users[CREDENTIAL_CHECKS]!.verifiedHash(verified, credentials) ?? hash;
    });
  }

  /** What a store of the application is asked, which no statement can check. */
  private conditionOf<T>(
    userId: string,
    user: unknown,
    credentials: Credentials | null,
    accessOf: (issued: T) => IssuedToken,
  ): ApplicationCondition<T> | undefined {
    const { users, scripts } = this;
    if (!credentials || !users.isStillValid) return undefined;
    return {
      async check() {
        const isStillValid: unknown = await users.isStillValid!(user, credentials);
        if (isStillValid !== true) throw invalid(credentials);
      },
      undo: (issued, emit) => scripts.revoke(userId, accessOf(issued).token.deviceId, 'revoked', emit),
    };
  }
}

const invalid = (credentials: Credentials | null): ExpiringTokenException =>
  new ExpiringTokenException(credentials ? 'credentials_invalid' : 'user_inactive');
