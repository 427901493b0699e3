import { Controller, HttpCode, Post, Req, UseInterceptors } from '@nestjs/common';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import { AnswerHeaders } from './answer-headers.interceptor.js';
import { Public } from './decorators.js';
import type { HttpRequest } from './http-request.js';
import { LoginVerifier } from './login.verifier.js';
import { type TokenAnswer, TokenAnswers } from './token-answers.js';

/** `POST login`: always a new token for a new device. */
@Public()
@Controller()
@UseInterceptors(AnswerHeaders)
export class LoginController {
  constructor(
    private readonly logins: LoginVerifier,
    private readonly tokens: ExpiringTokenService,
    private readonly answers: TokenAnswers,
  ) {}

  @Post('login')
  @HttpCode(200)
  async login(@Req() request: HttpRequest): Promise<TokenAnswer> {
    const { userId, device } = await this.logins.verify(request);
    return this.answers.answer(() => this.tokens.logIn(userId, device));
  }
}

/** `POST obtain-token`: the one token of a user that can be had again. */
@Public()
@Controller()
@UseInterceptors(AnswerHeaders)
export class ObtainTokenController {
  constructor(
    private readonly logins: LoginVerifier,
    private readonly tokens: ExpiringTokenService,
    private readonly answers: TokenAnswers,
  ) {}

  @Post('obtain-token')
  @HttpCode(200)
  async obtain(@Req() request: HttpRequest): Promise<TokenAnswer> {
    const { userId, device } = await this.logins.verify(request);
    return this.answers.answer(async () => ({ access: await this.tokens.obtain(userId, device), refresh: null }));
  }
}
