import { Controller, HttpCode, Inject, NotFoundException, Post, Req, UseInterceptors } from '@nestjs/common';
import { CLOCK, type Clock, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import { ExpiringTokenException } from '../expiring-token.exception.js';
import type { ResolvedOptions } from '../expiring-token.resolved-options.js';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import { AnswerHeaders } from './answer-headers.interceptor.js';
import { Public } from './decorators.js';
import type { HttpRequest } from './http-request.js';
import { IssuingController, type TokenAnswer } from './issuing.controller.js';
import { readRefreshToken } from './refresh-token.js';

/** `POST refresh`: a new pair of tokens for the device that a refresh token belongs to. */
@Public()
@Controller()
@UseInterceptors(AnswerHeaders)
export class RefreshController extends IssuingController {
  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    tokens: ExpiringTokenService,
    @Inject(CLOCK) clock: Clock,
  ) {
    super(tokens, clock);
  }

  @Post('refresh')
  @HttpCode(200)
  async refresh(@Req() request: HttpRequest): Promise<TokenAnswer> {
    // Those of forRootAsync come too late to leave the route out.
    if (!this.options.refresh) throw new NotFoundException(`Cannot POST ${request.originalUrl ?? request.url}`);
    const token = readRefreshToken(request, this.options.refresh.header);
    if (token === null) throw new ExpiringTokenException('refresh_invalid', { presented: false });
    return this.answer(() => this.tokens.refresh(token));
  }
}
