import { Controller, HttpCode, Inject, NotFoundException, Post, Req } from '@nestjs/common';
import { AuthenticationLogger } from '../authentication/authentication.logger.js';
import { Public } from '../authentication/expiring-token.decorators.js';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { CLOCK, type Clock, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import { DescribeRoute } from '../openapi/describe-route.decorator.js';
import { PairResponseModel, RefreshModel } from '../openapi/models.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import { type HttpRequest, utf8Header } from '../transports/http-request.js';
import { PackageRoutes } from './package-routes.decorator.js';
import { readRefreshToken } from './refresh-token.js';
import { type TokenResponse, TokenResponses } from './token-response.js';

/** `POST refresh`: a new pair of tokens for the device of a refresh token. */
@Public()
@Controller()
@PackageRoutes()
export class RefreshController {
  constructor(
    private readonly tokens: ExpiringTokenService,
    private readonly responses: TokenResponses,
    private readonly log: AuthenticationLogger,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  @Post('refresh')
  @HttpCode(200)
  @DescribeRoute(({ refresh }) => ({
    summary: 'Exchange a refresh token for a new pair',
    body: { type: RefreshModel, required: false },
    headers: refresh ? { [refresh.header]: 'The refresh token' } : {},
    response: { description: 'The pair', type: PairResponseModel },
    errors: ['validation_failed', 'request_invalid', 'refresh_invalid', 'user_inactive', 'throttled', 'unavailable'],
    excluded: !refresh,
  }))
  async refresh(@Req() request: HttpRequest): Promise<TokenResponse> {
    // The options of forRootAsync are not known when the module chooses its controllers, so the route may exist without them.
    if (!this.options.refresh) throw new NotFoundException(`Cannot POST ${request.originalUrl ?? request.url}`);
    const refreshToken = readRefreshToken(request, this.options.refresh.header);
    if (refreshToken === null) throw new ExpiringTokenException('refresh_invalid', { presented: false });
    try {
      const issuedSince = this.clock();
      const pair = await this.tokens.refresh(refreshToken, { userAgent: utf8Header(request, 'user-agent') });
      this.log.accepted('Refresh', request, pair.access.token);
      return this.responses.create(pair, issuedSince);
    } catch (error) {
      this.log.refused('Refresh', request, error);
      throw error;
    }
  }
}
