import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { HideFromInspect } from '../errors/hide-from-inspect.decorator.js';
import { ResponseHeadersInterceptor } from './response-headers.interceptor.js';
import { AUTHENTICATION } from './expiring-token.decorators.js';
import type { Authentication } from '../tokens/token.interfaces.js';
import type { Token } from '../tokens/token.entity.js';
import type { ExpiringTokenAuthInfo, HttpRequest } from '../transports/http-request.js';
import { RequestAuthenticator } from './request-authenticator.js';
import { endsWithResponse } from '../transports/handshake.js';
import { transportOf } from '../transports/transport-of.js';

/**
 * On a request that a guard has let pass already: where it stands on the application and on the route, or on several
 * resolvers, it asks once.
 */
class GuardAuthInfo implements ExpiringTokenAuthInfo {
  readonly #authenticator: RequestAuthenticator;

  constructor(
    readonly token: Token,
    authenticator: RequestAuthenticator,
  ) {
    this.#authenticator = authenticator;
  }

  /** Whether a guard of the same application made it: another one may share the server, and know other users. */
  static isFrom(authenticator: RequestAuthenticator, authInfo: unknown): boolean {
    return authInfo instanceof GuardAuthInfo && authInfo.#authenticator === authenticator;
  }
}

/**
 * Lets a request pass that presents a live token of an active user. Sets `request.user` to the user and
 * `request.authInfo.token` to the token's row. Guards controllers, GraphQL resolvers and the messages of gateways; the
 * connection of a subscription or a socket that it let in is closed once the token is dead.
 *
 * Refusals are {@link ExpiringTokenException}s with the challenge that RFC 6750 §3 asks for. A subclass gets what it needs
 * by property injection, and leaves the constructor alone.
 *
 * @example
 * ```ts
 * @UseGuards(ExpiringTokenGuard)
 * @Controller('notes')
 * export class NotesController {}
 * ```
 */
@HideFromInspect()
@Injectable()
export class ExpiringTokenGuard implements CanActivate {
  /** @internal Nest makes it. */
  constructor(
    private readonly authenticator: RequestAuthenticator,
    private readonly headers: ResponseHeadersInterceptor,
    private readonly reflector: Reflector,
  ) {}

  /** Lets the request pass, or throws an {@link ExpiringTokenException}. */
  async canActivate(context: ExecutionContext): Promise<boolean> {
    const need = this.getNeed(context);
    if (need === 'public') return true;
    const request = this.getRequest(context);
    if (GuardAuthInfo.isFrom(this.authenticator, request.authInfo) && endsWithResponse(request)) return true;
    try {
      const authentication: Authentication | null =
        need === 'optional'
          ? await this.authenticator.authenticate(request, need)
          : await this.authenticator.authenticate(request);
      request.user = authentication?.user ?? null;
      request.authInfo = authentication ? new GuardAuthInfo(authentication.token, this.authenticator) : undefined;
      return true;
    } catch (error) {
      const transport = transportOf(context);
      const response = transport.getResponse(context);
      if (response) this.headers.setErrorHeaders(error, response);
      throw await transport.toException(error);
    }
  }

  /** What the route or its controller asks for, the route first. */
  protected getNeed(context: ExecutionContext): 'public' | 'optional' | undefined {
    return this.reflector.getAllAndOverride(AUTHENTICATION, [context.getHandler(), context.getClass()]);
  }

  /**
   * The request to authenticate: of a GraphQL operation the one that brought it, of a socket its handshake. Override it for a
   * context of another kind.
   */
  protected getRequest(context: ExecutionContext): HttpRequest {
    return transportOf(context).getRequest(context);
  }
}
