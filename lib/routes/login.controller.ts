import { Controller, HttpCode, Post, Req } from '@nestjs/common';
import { Public } from '../authentication/expiring-token.decorators.js';
import type { ExpiringTokenErrorCode } from '../errors/expiring-token.exception.js';
import { DescribeRoute } from '../openapi/describe-route.decorator.js';
import { credentialsModel, PairResponseModel, TokenResponseModel } from '../openapi/models.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { TokenIssuer } from '../tokens/transactions/token.issuer.js';
import type { HttpRequest } from '../transports/http-request.js';
import { PasswordLogin } from './login/password-login.js';
import { PackageRoutes } from './package-routes.decorator.js';
import type { TokenResponse } from './token-response.js';

/** The part of the documentation that both routes share. */
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
@PackageRoutes()
export class LoginController {
  constructor(
    private readonly passwordLogin: PasswordLogin,
    private readonly issuer: TokenIssuer,
  ) {}

  @Post('login')
  @HttpCode(200)
  @DescribeRoute((options) => ({
    ...describeLogin(options),
    summary: 'Log in: a new token for a new device',
    response: { description: 'The token', type: options.refresh ? PairResponseModel : TokenResponseModel },
  }))
  login(@Req() request: HttpRequest): Promise<TokenResponse> {
    return this.passwordLogin.logIn(request, (...login) => this.issuer.logIn(...login));
  }
}

/** `POST obtain-token`: the one token of a user that can be obtained again. */
@Public()
@Controller()
@PackageRoutes()
export class ObtainTokenController {
  constructor(
    private readonly passwordLogin: PasswordLogin,
    private readonly issuer: TokenIssuer,
  ) {}

  @Post('obtain-token')
  @HttpCode(200)
  @DescribeRoute((options) => ({
    ...describeLogin(options),
    summary: 'Obtain the one token of a user',
    response: { description: 'The token', type: TokenResponseModel },
  }))
  obtain(@Req() request: HttpRequest): Promise<TokenResponse> {
    return this.passwordLogin.logIn(request, async (...login) => ({
      access: await this.issuer.obtain(...login),
      refresh: null,
    }));
  }
}
