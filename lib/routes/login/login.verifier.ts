import { HttpException, Inject, Injectable } from '@nestjs/common';
import { orUnavailable } from '../../errors/service-unavailable.js';
import { RESOLVED_OPTIONS, USER_STORE } from '../../expiring-token.constants.js';
import { ExpiringTokenException } from '../../errors/expiring-token.exception.js';
import type { ResolvedOptions } from '../../options/resolve-options.js';
import { sanitizeLabel } from '../../tokens/device.js';
import { TokenEvents } from '../../tokens/events/token.events.js';
import { checkUserId } from '../../users/user-id.js';
import { type Credentials, isActiveUser, type UserStore } from '../../users/user-store.js';
import { AuthenticationLogger, nameInLog } from '../../authentication/authentication.logger.js';
import { type HttpRequest, utf8Header } from '../../transports/http-request.js';
import { readLogin } from '../request-body.js';
import { LoginThrottle } from './login.throttle.js';
import { rejectRefreshToken } from '../../authentication/refresh-token.js';

/** Who logs in, and with what device. */
export interface Login {
  userId: string;
  device: { name: string | undefined; userAgent: string | undefined };
}

/** Checks the credentials of a request. */
@Injectable()
export class LoginVerifier {
  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(USER_STORE) private readonly users: UserStore,
    private readonly throttle: LoginThrottle,
    private readonly log: AuthenticationLogger,
    private readonly events: TokenEvents,
  ) {}

  /**
   * @throws ExpiringTokenException `request_invalid` for a refresh token; `validation_failed` for a body of the wrong shape;
   * `credentials_invalid`, the same whatever is wrong with the credentials; `throttled` after too many of those
   */
  async verify(request: HttpRequest): Promise<Login> {
    rejectRefreshToken(request, this.options);
    const { deviceName, ...credentials } = readLogin(request, this.options);
    const { username } = credentials;
    const userId = await this.log
      .attempt(
        'Login',
        request,
        (found?: string) => (found === undefined ? { name: nameInLog(username) } : { userId: found }),
        () => this.throttle.run(request.ip, username, () => this.validate(credentials)),
      )
      .catch((error: unknown) => this.refuse(error, request));
    const userAgent = utf8Header(request, 'user-agent');
    const name = [utf8Header(request, 'x-device-model'), deviceName, userAgent].find((label) => sanitizeLabel(label));
    return { userId, device: { name, userAgent } };
  }

  private refuse(error: unknown, request: HttpRequest): never {
    // An outage is nobody's failure.
    if (error instanceof HttpException && error.getStatus() < 500) {
      const code = error instanceof ExpiringTokenException ? error.code : null;
      this.events.emit?.('expiring-token.login-failed', { code, address: request.ip ?? null });
    }
    throw error;
  }

  private validate(credentials: Credentials): Promise<string> {
    return orUnavailable(async () => {
      const user = await this.users.validateCredentials(credentials);
      if (!isActiveUser(this.users, user)) throw new ExpiringTokenException('credentials_invalid');
      const userId = this.users.getId(user);
      checkUserId(userId);
      return userId;
    });
  }
}
