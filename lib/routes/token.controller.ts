import { Controller, Get, Req, UseGuards } from '@nestjs/common';
import { ExpiringTokenGuard } from '../authentication/expiring-token.guard.js';
import { DescribeRoute } from '../openapi/describe-route.decorator.js';
import { CurrentTokenModel } from '../openapi/models.js';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import { type AuthenticatedRequest, tokenOf } from '../transports/http-request.js';
import { PackageRoutes } from './package-routes.decorator.js';

/** The token in use, as its client sees it. */
export interface CurrentTokenResponse {
  deviceId: string;
  name: string | null;
  createdAt: Date;
  expiresAt: Date | null;
  lastUsedAt: Date | null;
  scopes: string[] | null;
}

/** `GET token`: the token in use. */
@Controller('token')
@PackageRoutes()
@UseGuards(ExpiringTokenGuard)
export class TokenController {
  constructor(private readonly tokens: ExpiringTokenService) {}

  @Get()
  @DescribeRoute(() => ({
    summary: 'Show the token in use',
    response: { description: 'The token in use', type: CurrentTokenModel },
  }))
  show(@Req() request: AuthenticatedRequest): CurrentTokenResponse {
    const token = tokenOf(request);
    const { deviceId, name, created, lastUsedAt, scopes } = token;
    return { deviceId, name, createdAt: created, expiresAt: this.tokens.expiryOf(token), lastUsedAt, scopes };
  }
}
