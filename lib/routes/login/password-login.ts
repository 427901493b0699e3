import { Inject, Injectable } from '@nestjs/common';
import { TurnQueue } from '../../async/turn-queue.js';
import { AuthenticationLogger } from '../../authentication/authentication.logger.js';
import { rejectRefreshToken } from '../../authentication/refresh-token.js';
import { CLOCK, type Clock, RESOLVED_OPTIONS, USER_STORE } from '../../expiring-token.constants.js';
import type { ResolvedOptions } from '../../options/resolve-options.js';
import { sanitizeLabel } from '../../tokens/device.js';
import type { DeviceOptions, LoggedIn } from '../../tokens/token.interfaces.js';
import { type HttpRequest, utf8Header } from '../../transports/http-request.js';
import type { Credentials, UserStore } from '../../users/user-store.js';
import { readLogin } from '../request-body.js';
import { type TokenResponse, TokenResponses } from '../token-response.js';
import { LoginVerifier } from './login.verifier.js';

/** A login by the user name and the password in the body of a request: what `login` and `obtain-token` have in common. */
@Injectable()
export class PasswordLogin {
  /** Otherwise many simultaneous logins would delay all other requests until the last of them waits for the database. */
  private readonly turns = new TurnQueue();

  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(USER_STORE) private readonly users: UserStore,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly verifier: LoginVerifier,
    private readonly responses: TokenResponses,
    private readonly log: AuthenticationLogger,
  ) {}

  /**
   * @param issueTokens - called with the user when the credentials are right
   * @throws ExpiringTokenException `request_invalid` for a refresh token in the header; `validation_failed` for a body of the
   * wrong shape; what {@link LoginVerifier.logIn} throws
   */
  async logIn(
    request: HttpRequest,
    issueTokens: (user: unknown, credentials: Credentials, device: DeviceOptions) => Promise<LoggedIn>,
  ): Promise<TokenResponse> {
    rejectRefreshToken(request, this.options);
    const { deviceName, ...credentials } = readLogin(request, this.options);
    const device = deviceOf(request, deviceName);
    const verify = () => this.users.validateCredentials(credentials);
    await this.turns.next();
    return this.verifier.logIn(request, credentials.username, verify, async (user) => {
      const issuedSince = this.clock();
      const tokens = await issueTokens(user, credentials, device);
      this.log.accepted('Login', request, tokens.access.token);
      return this.responses.create(tokens, issuedSince);
    });
  }
}

/** The name of a device is the first of these that has visible characters. */
function deviceOf(request: HttpRequest, deviceName: string | undefined): DeviceOptions {
  const userAgent = utf8Header(request, 'user-agent');
  const name = [utf8Header(request, 'x-device-model'), deviceName, userAgent].find((label) => sanitizeLabel(label));
  return { name, userAgent };
}
