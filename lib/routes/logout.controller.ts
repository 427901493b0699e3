import { Controller, HttpCode, Post, Req, UseGuards } from '@nestjs/common';
import { AuthenticationLogger } from '../authentication/authentication.logger.js';
import { RequireLogin } from '../authentication/expiring-token.decorators.js';
import { ExpiringTokenGuard } from '../authentication/expiring-token.guard.js';
import { DescribeRoute } from '../openapi/describe-route.decorator.js';
import { LogoutAllModel, RevokedModel } from '../openapi/models.js';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import { PersonalTokenService } from '../tokens/personal/personal-token.service.js';
import { rulesOf } from '../tokens/token-purpose.js';
import { type AuthenticatedRequest, tokenOf } from '../transports/http-request.js';
import { PackageRoutes } from './package-routes.decorator.js';
import { readKeepCurrent } from './request-body.js';

/** `POST logout` and `POST logout-all`. */
@Controller()
@PackageRoutes()
@UseGuards(ExpiringTokenGuard)
export class LogoutController {
  constructor(
    private readonly tokens: ExpiringTokenService,
    private readonly personalTokens: PersonalTokenService,
    private readonly log: AuthenticationLogger,
  ) {}

  @Post('logout')
  @HttpCode(204)
  @DescribeRoute(() => ({
    summary: 'Log out this device, or revoke the personal token in use',
    response: { description: 'Its tokens are revoked' },
    errors: ['throttled'],
  }))
  async logout(@Req() request: AuthenticatedRequest): Promise<void> {
    const token = tokenOf(request);
    const { userId, deviceId, purpose } = token;
    try {
      const service = rulesOf(purpose)?.isPersonal ? this.personalTokens : this.tokens;
      await service.revoke(userId, deviceId, { by: token });
      this.log.accepted('Logout', request, { userId, deviceId });
    } catch (error) {
      this.log.refused('Logout', request, error, { userId, deviceId });
      throw error;
    }
  }

  @Post('logout-all')
  @RequireLogin()
  @HttpCode(200)
  @DescribeRoute(() => ({
    summary: 'Log out all devices',
    body: { type: LogoutAllModel, required: false },
    response: { description: 'Their tokens are revoked', type: RevokedModel },
    errors: ['validation_failed', 'throttled'],
  }))
  async logoutAll(@Req() request: AuthenticatedRequest): Promise<{ revoked: number }> {
    const token = tokenOf(request);
    const { userId, deviceId } = token;
    const options = readKeepCurrent(request) ? { by: token, except: deviceId } : { by: token };
    try {
      const revoked = await this.tokens.revokeAll(userId, options);
      this.log.accepted('Logout of all devices', request, { userId });
      return { revoked };
    } catch (error) {
      this.log.refused('Logout of all devices', request, error, { userId });
      throw error;
    }
  }
}
