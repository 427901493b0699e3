import { Controller, HttpCode, Inject, NotFoundException, Post, Req, UseInterceptors } from '@nestjs/common';
import { CLOCK, type Clock, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import { AuthenticationLogger } from '../authentication/authentication.logger.js';
import { ResponseHeadersInterceptor } from '../authentication/response-headers.interceptor.js';
import { DescribeRoute } from '../openapi/route-documentation.js';
import { PairAnswerModel, RefreshModel } from '../openapi/models.js';
import { Public } from '../authentication/expiring-token.decorators.js';
import type { HttpRequest } from '../transports/http-request.js';
import { readRefreshToken } from './refresh-token.js';
import { type TokenResponse, TokenResponses } from './token-response.js';

/** `POST refresh`: a new pair of tokens for the device that a refresh token belongs to. */
@Public()
@Controller()
@UseInterceptors(ResponseHeadersInterceptor)
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
    answer: { description: 'The pair', type: PairAnswerModel },
    errors: ['validation_failed', 'request_invalid', 'refresh_invalid', 'user_inactive', 'unavailable'],
    excluded: !refresh,
  }))
  async refresh(@Req() request: HttpRequest): Promise<TokenResponse> {
    // Those of forRootAsync come too late to leave the route out.
    if (!this.options.refresh) throw new NotFoundException(`Cannot POST ${request.originalUrl ?? request.url}`);
    const token = readRefreshToken(request, this.options.refresh.header);
    if (token === null) throw new ExpiringTokenException('refresh_invalid', { presented: false });
    try {
      const issuedSince = this.clock();
      const pair = await this.tokens.refresh(token);
      this.log.accepted('Refresh', request, pair.access.token);
      return this.responses.create(pair, issuedSince);
    } catch (error) {
      this.log.refused('Refresh', request, error);
      throw error;
    }
  }
}
