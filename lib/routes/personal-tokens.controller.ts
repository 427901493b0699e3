import { Controller, Delete, Get, HttpCode, Inject, Patch, Post, Req, UseGuards } from '@nestjs/common';
import { AuthenticationLogger } from '../authentication/authentication.logger.js';
import { RequireLogin } from '../authentication/expiring-token.decorators.js';
import { ExpiringTokenGuard } from '../authentication/expiring-token.guard.js';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import { DescribeRoute } from '../openapi/describe-route.decorator.js';
import {
  IssuedPersonalTokenModel,
  NewPersonalTokenModel,
  PersonalTokenModel,
  PersonalTokenNameModel,
  RotationModel,
} from '../openapi/models.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { type PersonalToken, toPersonalToken } from '../tokens/personal/personal-token.js';
import { TOO_MANY_TOKENS } from '../tokens/personal/personal-token.transactions.js';
import { PersonalTokenService } from '../tokens/personal/personal-token.service.js';
import { secondsUntil, TokenValidity } from '../tokens/token-lifetime.js';
import type { Token } from '../tokens/token.entity.js';
import type { IssuedToken } from '../tokens/token.interfaces.js';
import { type AuthenticatedRequest, tokenOf } from '../transports/http-request.js';
import { PackageRoutes } from './package-routes.decorator.js';
import { PersonalTokensGuard } from './personal-tokens.guard.js';
import { readName, readNewPersonalToken, readOverlap } from './request-body.js';

/** A new personal token, with its value, which is shown this once. */
export interface IssuedPersonalTokenResponse extends PersonalToken {
  /** Whole seconds; null for a token that never expires. */
  expiresIn: number | null;
  token: string;
  tokenType: 'Bearer';
}

/** A request with the id of a personal token in its path, which the pipes of the application do not change. */
type PersonalTokenRequest = AuthenticatedRequest & { params: { id: string } };

/** The holder of a token with scopes may ask for more than it has. */
const scopeErrors = (catalogue: readonly string[] | null) => (catalogue ? (['scope_insufficient'] as const) : []);

/** `tokens`: the personal tokens of a user. That of another user is treated as one that does not exist. */
@Controller('tokens')
@PackageRoutes()
@RequireLogin()
@UseGuards(PersonalTokensGuard, ExpiringTokenGuard)
export class PersonalTokensController {
  constructor(
    private readonly tokens: PersonalTokenService,
    private readonly validity: TokenValidity,
    private readonly log: AuthenticationLogger,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
  ) {}

  @Post()
  @DescribeRoute(({ personal, scopes }) => ({
    summary: 'Make a personal token',
    body: { type: NewPersonalTokenModel, required: true },
    response: { description: 'The token, whose value is not shown again', type: IssuedPersonalTokenModel },
    errors: ['validation_failed', ['limit_reached', TOO_MANY_TOKENS], ...scopeErrors(scopes), 'throttled'],
    excluded: !personal,
  }))
  issue(@Req() request: AuthenticatedRequest): Promise<IssuedPersonalTokenResponse> {
    return this.logged('New personal token', request, (by) =>
      this.tokens.issue(by.userId, { ...readNewPersonalToken(request, this.options), by }),
    );
  }

  @Get()
  @DescribeRoute(({ personal }) => ({
    summary: 'List the live personal tokens',
    response: { description: 'The newest first', type: PersonalTokenModel, isArray: true },
    excluded: !personal,
  }))
  list(@Req() request: AuthenticatedRequest): Promise<PersonalToken[]> {
    return this.tokens.list(tokenOf(request).userId);
  }

  @Patch(':id')
  @DescribeRoute(({ personal }) => ({
    summary: 'Rename a personal token',
    pathParameters: ['id'],
    body: { type: PersonalTokenNameModel, required: true },
    response: { description: 'The token', type: PersonalTokenModel },
    errors: ['validation_failed', 'token_not_found', 'throttled'],
    excluded: !personal,
  }))
  rename(@Req() request: PersonalTokenRequest): Promise<PersonalToken> {
    const by = tokenOf(request);
    return this.tokens.rename(by.userId, request.params.id, readName(request), { by });
  }

  @Post(':id/rotate')
  @HttpCode(200)
  @DescribeRoute(({ personal, scopes }) => ({
    summary: 'Give a personal token another secret',
    pathParameters: ['id'],
    body: { type: RotationModel, required: false },
    response: { description: 'The token, whose value is not shown again', type: IssuedPersonalTokenModel },
    errors: ['validation_failed', 'token_not_found', ...scopeErrors(scopes), 'throttled'],
    excluded: !personal,
  }))
  rotate(@Req() request: PersonalTokenRequest): Promise<IssuedPersonalTokenResponse> {
    return this.logged('Rotation of a personal token', request, (by) =>
      this.tokens.rotate(by.userId, request.params.id, { overlap: readOverlap(request), by }),
    );
  }

  @Delete(':id')
  @HttpCode(204)
  @DescribeRoute(({ personal }) => ({
    summary: 'Revoke a personal token',
    pathParameters: ['id'],
    response: { description: 'It is revoked' },
    errors: ['token_not_found', 'throttled'],
    excluded: !personal,
  }))
  async revoke(@Req() request: PersonalTokenRequest): Promise<void> {
    const by = tokenOf(request);
    const revoked = await this.tokens.revoke(by.userId, request.params.id, { by });
    if (!revoked) throw new ExpiringTokenException('token_not_found');
  }

  /** Logs how a request for a secret that outlives its login ended. */
  private async logged(
    action: string,
    request: AuthenticatedRequest,
    issue: (by: Token) => Promise<IssuedToken>,
  ): Promise<IssuedPersonalTokenResponse> {
    const by = tokenOf(request);
    try {
      const issued = await issue(by);
      this.log.accepted(action, request, issued.token);
      return this.responseOf(issued);
    } catch (error) {
      this.log.refused(action, request, error, { userId: by.userId, deviceId: by.deviceId });
      throw error;
    }
  }

  private responseOf({ plainText, token }: IssuedToken): IssuedPersonalTokenResponse {
    const expiresAt = this.validity.expiryOf(token);
    const { lastUsedAt, ...shown } = toPersonalToken(token, expiresAt);
    const expiresIn = secondsUntil(expiresAt, token.created.getTime());
    return { ...shown, expiresIn, lastUsedAt, token: plainText, tokenType: 'Bearer' };
  }
}
