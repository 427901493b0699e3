import { HttpException, Inject, Injectable } from '@nestjs/common';
import { AuthenticationLogger, nameInLog } from '../../authentication/authentication.logger.js';
import { ExpiringTokenException } from '../../errors/expiring-token.exception.js';
import { orUnavailable } from '../../errors/service-unavailable.js';
import { USER_STORE } from '../../expiring-token.constants.js';
import type { HttpRequest } from '../../transports/http-request.js';
import { checkUserId } from '../../users/user-id.js';
import { isActiveUser, type UserStore } from '../../users/user-store.js';
import { LoginFailures } from './login-failures.js';
import { type LoginAttempt, LoginThrottle } from './login.throttle.js';

/** An error below 500 is a judgement of the credentials, however the user store expresses it; an outage is not. */
export const isRejection = (error: unknown): boolean => error instanceof HttpException && error.getStatus() < 500;

/** A store with its own limit throws this error before it looks at the password, so the attempt is not counted here. */
const isThrottled = (error: unknown): boolean => error instanceof ExpiringTokenException && error.code === 'throttled';

/** The outcome of a login whose credentials are right: its result, or the error that ended it. */
type Outcome<T> = { result: T } | { error: unknown };

/** Verifies credentials under the login throttle. */
@Injectable()
export class LoginVerifier {
  constructor(
    @Inject(USER_STORE) private readonly users: UserStore,
    private readonly throttle: LoginThrottle,
    private readonly log: AuthenticationLogger,
    private readonly failures: LoginFailures,
  ) {}

  /**
   * Verifies credentials, unless too many attempts have failed, and issues tokens.
   *
   * @param username - exactly as sent
   * @param verify - returns the user whom the credentials belong to, or null for wrong credentials
   * @param issue - called with that user. If the credentials are no longer valid, it throws `credentials_invalid`, and the
   * attempt is counted as a failed one
   * @returns what `issue` returns
   * @throws ExpiringTokenException `credentials_invalid`, the same for every cause; `throttled` after too many of those;
   * `unavailable`; what `issue` throws
   */
  async logIn<T>(
    request: HttpRequest,
    username: string,
    verify: () => Promise<unknown>,
    issue: (user: unknown) => Promise<T>,
  ): Promise<T> {
    const outcome = await this.attempt(request, username, () => this.verifyAndIssue(request, verify, issue));
    if ('error' in outcome) throw outcome.error;
    return outcome.result;
  }

  /** Runs an attempt to log in under the throttle. It rejects if the credentials are wrong, or cannot be verified now. */
  private async attempt<T>(request: HttpRequest, username: string, run: () => Promise<T>): Promise<T> {
    let attempt: LoginAttempt | undefined;
    try {
      attempt = await this.throttle.acquire(request.ip, username);
      const result = await run();
      await attempt.succeeded();
      return result;
    } catch (error) {
      await (isRejection(error) && !isThrottled(error) ? attempt?.failed() : attempt?.cancelled());
      this.log.refused('Login', request, error, { name: nameInLog(username) });
      if (isRejection(error)) this.failures.report(request, username, error);
      throw error;
    }
  }

  private async verifyAndIssue<T>(
    request: HttpRequest,
    verify: () => Promise<unknown>,
    issue: (user: unknown) => Promise<T>,
  ): Promise<Outcome<T>> {
    const user = await orUnavailable(async () => this.assertActive(await verify()));
    try {
      return { result: await issue(user) };
    } catch (error) {
      if (error instanceof ExpiringTokenException && error.code === 'credentials_invalid') throw error;
      // The credentials were right, so this is no failed attempt.
      this.log.refused('Login', request, error, { userId: this.users.getId(user) });
      return { error };
    }
  }

  private assertActive(user: unknown): unknown {
    if (!isActiveUser(this.users, user)) throw new ExpiringTokenException('credentials_invalid');
    checkUserId(this.users.getId(user));
    return user;
  }
}
