import { Controller, Get, Req, UseGuards, UseInterceptors } from '@nestjs/common';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import { ResponseHeadersInterceptor } from '../authentication/response-headers.interceptor.js';
import { DescribeRoute } from '../openapi/route-documentation.js';
import { CurrentTokenModel } from '../openapi/models.js';
import { ExpiringTokenGuard } from '../authentication/expiring-token.guard.js';
import { type AuthenticatedRequest, tokenOf } from '../transports/http-request.js';

/** What a client is told of the token that it uses. */
export interface CurrentTokenAnswer {
  deviceId: string;
  name: string | null;
  createdAt: Date;
  expiresAt: Date | null;
  lastUsedAt: Date | null;
}

/** `GET token`: the token in use. */
@Controller('token')
@UseGuards(ExpiringTokenGuard)
@UseInterceptors(ResponseHeadersInterceptor)
export class TokenController {
  constructor(private readonly tokens: ExpiringTokenService) {}

  @Get()
  @DescribeRoute(() => ({
    summary: 'Show the token in use',
    answer: { description: 'The token in use', type: CurrentTokenModel },
  }))
  show(@Req() request: AuthenticatedRequest): CurrentTokenAnswer {
    const token = tokenOf(request);
    const { deviceId, name, created, lastUsedAt } = token;
    return { deviceId, name, createdAt: created, expiresAt: this.tokens.expiryOf(token), lastUsedAt };
  }
}
