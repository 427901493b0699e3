import { Controller, HttpCode, Post, Req, UseInterceptors } from '@nestjs/common';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import type { ExpiringTokenErrorCode } from '../errors/expiring-token.exception.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { ResponseHeadersInterceptor } from '../authentication/response-headers.interceptor.js';
import { DescribeRoute } from '../openapi/route-documentation.js';
import { credentialsModel, PairAnswerModel, TokenAnswerModel } from '../openapi/models.js';
import { Public } from '../authentication/expiring-token.decorators.js';
import type { HttpRequest } from '../transports/http-request.js';
import { PasswordLogin } from './login/password-login.js';
import type { TokenResponse } from './token-response.js';

/** What both take and refuse. */
function describeLogin(options: ResolvedOptions) {
  const errors: (ExpiringTokenErrorCode | null)[] = [
    'validation_failed',
    options.refresh && 'request_invalid',
    'credentials_invalid',
    options.limit?.policy === 'reject' ? 'limit_reached' : null,
    options.loginThrottle && 'throttled',
    'unavailable',
  ];
  return {
    body: { type: credentialsModel(options), required: true },
    headers: { 'X-Device-Model': 'Name of the device' },
    errors: errors.filter((code) => code !== null),
  };
}

/** `POST login`: always a new token for a new device. */
@Public()
@Controller()
@UseInterceptors(ResponseHeadersInterceptor)
export class LoginController {
  constructor(
    private readonly passwordLogin: PasswordLogin,
    private readonly tokens: ExpiringTokenService,
  ) {}

  @Post('login')
  @HttpCode(200)
  @DescribeRoute((options) => ({
    ...describeLogin(options),
    summary: 'Log in: a new token for a new device',
    answer: { description: 'The token', type: options.refresh ? PairAnswerModel : TokenAnswerModel },
  }))
  async login(@Req() request: HttpRequest): Promise<TokenResponse> {
    return this.passwordLogin.logIn(request, (userId, device) => this.tokens.logIn(userId, device));
  }
}

/** `POST obtain-token`: the one token of a user that can be had again. */
@Public()
@Controller()
@UseInterceptors(ResponseHeadersInterceptor)
export class ObtainTokenController {
  constructor(
    private readonly passwordLogin: PasswordLogin,
    private readonly tokens: ExpiringTokenService,
  ) {}

  @Post('obtain-token')
  @HttpCode(200)
  @DescribeRoute((options) => ({
    ...describeLogin(options),
    summary: 'Obtain the one token of a user',
    answer: { description: 'The token', type: TokenAnswerModel },
  }))
  async obtain(@Req() request: HttpRequest): Promise<TokenResponse> {
    return this.passwordLogin.logIn(request, async (userId, device) => ({
      access: await this.tokens.obtain(userId, device),
      refresh: null,
    }));
  }
}
