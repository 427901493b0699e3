import { HttpException, Inject, Injectable } from '@nestjs/common';
import { AuthenticationLogger, nameInLog } from '../../authentication/authentication.logger.js';
import { ExpiringTokenException } from '../../errors/expiring-token.exception.js';
import { orUnavailable } from '../../errors/service-unavailable.js';
import { USER_STORE } from '../../expiring-token.constants.js';
import { TokenEvents } from '../../tokens/events/token.events.js';
import type { HttpRequest } from '../../transports/http-request.js';
import { checkUserId } from '../../users/user-id.js';
import { isActiveUser, type UserStore } from '../../users/user-store.js';
import { type LoginAttempt, LoginThrottle } from './login.throttle.js';

/** An error below 500 is a judgement of the credentials, however the user store expresses it; an outage is not. */
export const isRejection = (error: unknown): boolean => error instanceof HttpException && error.getStatus() < 500;

/** A store with its own limit throws this error before it looks at the password, so the attempt is not counted here. */
const isThrottled = (error: unknown): boolean => error instanceof ExpiringTokenException && error.code === 'throttled';

/** Checks credentials under the login throttle. */
@Injectable()
export class LoginVerifier {
  constructor(
    @Inject(USER_STORE) private readonly users: UserStore,
    private readonly throttle: LoginThrottle,
    private readonly log: AuthenticationLogger,
    private readonly events: TokenEvents,
  ) {}

  /**
   * Runs a check of credentials, unless too many have failed.
   *
   * @param username - exactly as sent
   * @param check - returns the user whom the credentials belong to, or null for wrong credentials
   * @returns the id of the user
   * @throws ExpiringTokenException `credentials_invalid`, the same for every cause; `throttled` after too many of those;
   * `unavailable`
   */
  async verify(request: HttpRequest, username: string, check: () => Promise<unknown>): Promise<string> {
    let attempt: LoginAttempt | undefined;
    try {
      attempt = await this.throttle.acquire(request.ip, username);
      const userId = await orUnavailable(async () => this.idOf(await check()));
      await attempt.succeeded();
      return userId;
    } catch (error) {
      await (isRejection(error) && !isThrottled(error) ? attempt?.failed() : attempt?.cancelled());
      this.log.refused('Login', request, error, { name: nameInLog(username) });
      if (isRejection(error)) this.emitFailure(request, error);
      throw error;
    }
  }

  private idOf(user: unknown): string {
    if (!isActiveUser(this.users, user)) throw new ExpiringTokenException('credentials_invalid');
    const userId = this.users.getId(user);
    checkUserId(userId);
    return userId;
  }

  private emitFailure({ ip }: HttpRequest, error: unknown): void {
    const code = error instanceof ExpiringTokenException ? error.code : null;
    this.events.emit('expiring-token.login-failed', { code, address: ip ?? null });
  }
}
