import { Inject, Injectable } from '@nestjs/common';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import type { Token } from '../tokens/token.entity.js';
import type { Authentication } from '../tokens/token.interfaces.js';
import type { HttpRequest } from '../transports/http-request.js';
import { AuthenticationLogger } from './authentication.logger.js';
import { readBearerToken } from './bearer-token.js';
import type { HandlerRequirements } from './handler-requirements.js';
import { rejectRefreshToken } from './refresh-token.js';
import { assertPermitted } from './token-permission.js';

/**
 * Authenticates a request: from the header to the token, and from the token to the user. The guard, the Passport strategy and
 * {@link SocketAuthenticator} call it.
 */
@Injectable()
export class RequestAuthenticator {
  constructor(
    private readonly tokens: ExpiringTokenService,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    private readonly log: AuthenticationLogger,
  ) {}

  /**
   * Returns the user and the token of a request.
   *
   * @param need - `'optional'`: a request without a token is accepted too, and the result is null
   * @throws ExpiringTokenException `token_missing`, `token_invalid`, `token_expired`, `user_inactive`, `request_invalid` or
   * `unavailable`
   */
  async authenticate(request: HttpRequest): Promise<Authentication>;
  async authenticate(request: HttpRequest, need: 'optional' | undefined): Promise<Authentication | null>;
  async authenticate(request: HttpRequest, need?: 'optional'): Promise<Authentication | null> {
    const plainText = this.readToken(request);
    if (plainText === null) {
      if (need === 'optional') return null;
      throw new ExpiringTokenException('token_missing');
    }
    try {
      return await this.tokens.authenticate(plainText);
    } catch (error) {
      this.log.tokenRefused(request, error);
      throw error;
    }
  }

  /**
   * Checks that the valid token of a request may call a handler.
   *
   * @param token - undefined if the request has none, and needs none
   * @throws ExpiringTokenException `login_required`; `scope_insufficient`; `token_missing` for a handler that asks for scopes
   */
  assertPermitted(request: HttpRequest, token: Token | undefined, requirements: HandlerRequirements): void {
    try {
      assertPermitted(token, requirements);
    } catch (error) {
      this.log.tokenRefused(request, error, token);
      throw error;
    }
  }

  /**
   * Returns the token that a request presents, without looking it up; null if it presents none.
   *
   * @throws ExpiringTokenException `request_invalid`
   */
  readToken(request: HttpRequest): string | null {
    rejectRefreshToken(request, this.options);
    return readBearerToken(request, this.options.schemes);
  }
}
