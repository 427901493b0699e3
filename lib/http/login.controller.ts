import { Controller, HttpCode, Inject, Post, Req, UseInterceptors } from '@nestjs/common';
import { CLOCK, type Clock } from '../expiring-token.constants.js';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import type { IssuedToken } from '../tokens/token.interfaces.js';
import { secondsUntil } from '../tokens/token-lifetime.js';
import { AnswerHeaders } from './answer-headers.interceptor.js';
import { Public } from './decorators.js';
import type { HttpRequest } from './http-request.js';
import { LoginVerifier } from './login.verifier.js';

/** What a client is told of a token that it may use from now on (after RFC 6749 §5.1). */
export interface TokenAnswer {
  token: string;
  tokenType: 'Bearer';
  /** Whole seconds; null for a token that never expires. */
  expiresIn: number | null;
  expiresAt: Date | null;
  deviceId: string;
}

/** What both ways to a token have in common. */
abstract class IssuingController {
  constructor(
    protected readonly logins: LoginVerifier,
    protected readonly tokens: ExpiringTokenService,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  /** @param asked - gets the token; the seconds that it still has are counted from the moment before, or from its creation */
  protected async answer(asked: () => Promise<IssuedToken>): Promise<TokenAnswer> {
    const before = this.clock();
    const { plainText, token } = await asked();
    const now = Math.max(before, token.created.getTime());
    const expiresAt = this.tokens.expiryOf(token);
    return {
      token: plainText,
      tokenType: 'Bearer',
      expiresIn: secondsUntil(expiresAt, now),
      expiresAt,
      deviceId: token.deviceId,
    };
  }
}

/** `POST login`: always a new token for a new device. */
@Public()
@Controller()
@UseInterceptors(AnswerHeaders)
export class LoginController extends IssuingController {
  @Post('login')
  @HttpCode(200)
  async login(@Req() request: HttpRequest): Promise<TokenAnswer> {
    const { userId, device } = await this.logins.verify(request);
    return this.answer(() => this.tokens.issue(userId, device));
  }
}

/** `POST obtain-token`: the one token of a user that can be had again. */
@Public()
@Controller()
@UseInterceptors(AnswerHeaders)
export class ObtainTokenController extends IssuingController {
  @Post('obtain-token')
  @HttpCode(200)
  async obtain(@Req() request: HttpRequest): Promise<TokenAnswer> {
    const { userId, device } = await this.logins.verify(request);
    return this.answer(() => this.tokens.obtain(userId, device));
  }
}
