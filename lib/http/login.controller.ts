import { Controller, HttpCode, Inject, Post, Req, UseInterceptors } from '@nestjs/common';
import { CLOCK, type Clock } from '../expiring-token.constants.js';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import { AnswerHeaders } from './answer-headers.interceptor.js';
import { Public } from './decorators.js';
import type { HttpRequest } from './http-request.js';
import { IssuingController, type TokenAnswer } from './issuing.controller.js';
import { LoginVerifier } from './login.verifier.js';

/** `POST login`: always a new token for a new device. */
@Public()
@Controller()
@UseInterceptors(AnswerHeaders)
export class LoginController extends IssuingController {
  constructor(
    private readonly logins: LoginVerifier,
    tokens: ExpiringTokenService,
    @Inject(CLOCK) clock: Clock,
  ) {
    super(tokens, clock);
  }

  @Post('login')
  @HttpCode(200)
  async login(@Req() request: HttpRequest): Promise<TokenAnswer> {
    const { userId, device } = await this.logins.verify(request);
    return this.answer(() => this.tokens.logIn(userId, device));
  }
}

/** `POST obtain-token`: the one token of a user that can be had again. */
@Public()
@Controller()
@UseInterceptors(AnswerHeaders)
export class ObtainTokenController extends IssuingController {
  constructor(
    private readonly logins: LoginVerifier,
    tokens: ExpiringTokenService,
    @Inject(CLOCK) clock: Clock,
  ) {
    super(tokens, clock);
  }

  @Post('obtain-token')
  @HttpCode(200)
  async obtain(@Req() request: HttpRequest): Promise<TokenAnswer> {
    const { userId, device } = await this.logins.verify(request);
    return this.answer(async () => ({ access: await this.tokens.obtain(userId, device), refresh: null }));
  }
}
