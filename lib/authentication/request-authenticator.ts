import { Inject, Injectable } from '@nestjs/common';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { TokenAuthenticator } from '../tokens/token.authenticator.js';
import type { Authentication } from '../tokens/token.interfaces.js';
import type { HttpRequest } from '../transports/http-request.js';
import { AuthenticationLogger } from './authentication.logger.js';
import { readBearerToken } from './bearer-token.js';
import type { HandlerRequirements } from './handler-requirements.js';
import { rejectRefreshToken } from './refresh-token.js';
import { assertPermitted, type TokenHolder } from './token-permission.js';

/**
 * Authenticates a request: from the header to the token, and from the token to the user. The guard, the Passport strategy and
 * {@link SocketAuthenticator} call it.
 */
@Injectable()
export class RequestAuthenticator {
  constructor(
    private readonly tokens: TokenAuthenticator,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    private readonly log: AuthenticationLogger,
  ) {}

  /**
   * Returns the user and the token of a request. Not a promise if no query is needed, because the token is cached or missing.
   *
   * @param need - `'optional'`: a request without a token is accepted too, and the result is null
   * @throws ExpiringTokenException `token_missing`, `token_invalid`, `token_expired`, `user_inactive`, `request_invalid` or
   * `unavailable`
   */
  authenticate(request: HttpRequest): Authentication | Promise<Authentication>;
  authenticate(
    request: HttpRequest,
    need: 'optional' | undefined,
  ): Authentication | null | Promise<Authentication | null>;
  authenticate(request: HttpRequest, need?: 'optional'): Authentication | null | Promise<Authentication> {
    const plainText = this.readToken(request);
    if (plainText === null) {
      if (need === 'optional') return null;
      throw new ExpiringTokenException('token_missing');
    }
    const logAndThrow = (error: unknown): never => {
      this.log.tokenRefused(request, error);
      throw error;
    };
    try {
      const authentication = this.tokens.authenticate(plainText);
      return authentication instanceof Promise ? authentication.catch(logAndThrow) : authentication;
    } catch (error) {
      return logAndThrow(error);
    }
  }

  /**
   * Checks that the valid token of a request may call a handler.
   *
   * @param holder - of the token, which is read only if the handler asks for something; undefined if the request has no token,
   * and needs none
   * @throws ExpiringTokenException `login_required`; `scope_insufficient`; `token_missing` for a handler that asks for scopes
   */
  assertPermitted(request: HttpRequest, holder: TokenHolder | undefined, requirements: HandlerRequirements): void {
    try {
      assertPermitted(holder, requirements);
    } catch (error) {
      this.log.tokenRefused(request, error, holder?.token);
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
