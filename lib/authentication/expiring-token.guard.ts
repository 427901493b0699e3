import { type CanActivate, type ExecutionContext, Injectable, SetMetadata } from '@nestjs/common';
import { HideFromInspect } from '../errors/hide-from-inspect.decorator.js';
import type { Authentication } from '../tokens/token.interfaces.js';
import { rememberRequest } from '../transports/call-requests.js';
import { endsWithResponse, Handshake } from '../transports/handshake.js';
import type { HttpRequest } from '../transports/http-request.js';
import { transportOf } from '../transports/transport-of.js';
import { GuardAuthInfo } from './guard-auth-info.js';
import { isEventStream, requirementsOf, TOKEN_GUARD } from './handler-requirements.js';
import { RequestAuthenticator } from './request-authenticator.js';
import { ResponseHeadersInterceptor } from './response-headers.interceptor.js';
import { SocketAuthenticator } from './socket-authenticator.js';

/**
 * Accepts a request that presents a valid token of an active user, and rejects all others. Sets `request.user` to the user,
 * and `request.authInfo.token` to the row of the token.
 *
 * Guards controllers, GraphQL resolvers and the messages of gateways. The guard closes an accepted connection that stays open
 * (a subscription, a socket, a stream of `@Sse()`) when its token ends. `@Public()`, `@OptionalToken()`, `@RequireToken()`,
 * `@RequireLogin()` and `@RequireScopes()` change what a handler requires. The nearest declaration wins, and the guard is one: see {@link Public}.
 *
 * The guard rejects with an {@link ExpiringTokenException}, and sets the challenge of RFC 6750 §3 on the HTTP response. In a
 * resolver the exception has the form of a GraphQL error with `extensions.code`, in a gateway that of a `WsException`, and in a
 * microservice that of an `RpcException`.
 *
 * A subclass can override `getNeed` and `getRequest`. It injects its own dependencies as properties, and does not declare a
 * constructor: the constructor of this class may change in any release.
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
@SetMetadata(TOKEN_GUARD, true)
export class ExpiringTokenGuard implements CanActivate {
  /** @internal Nest creates the guard. */
  constructor(
    private readonly authenticator: RequestAuthenticator,
    private readonly sockets: SocketAuthenticator,
    private readonly headers: ResponseHeadersInterceptor,
  ) {
    // An application in JavaScript, or a cast, can leave the parameters out. Otherwise every request would be answered 500.
    if (!(authenticator as unknown)) {
      throw new Error(
        'ExpiringTokenGuard: Nest must create the guard. Set globalGuard: true, or call app.useGlobalGuards(app.get(ExpiringTokenGuard)).',
      );
    }
  }

  /**
   * Authenticates the request of a handler call.
   *
   * @returns true; a rejected request throws
   * @throws ExpiringTokenException `token_missing`, `token_invalid`, `token_expired`, `user_inactive`, `login_required`,
   * `scope_insufficient`, `request_invalid` or `unavailable`, in the form of the transport
   */
  async canActivate(context: ExecutionContext): Promise<boolean> {
    const need = this.getNeed(context);
    if (need === 'public') return true;
    const request = this.getRequest(context);
    if (this.getRequest !== ExpiringTokenGuard.prototype.getRequest) rememberRequest(context, request);
    // A guard of this application accepted the request before. This is no method, because a subclass in JavaScript that happens
    // to have a method of the same name would replace the check without an error.
    const isAuthenticated = GuardAuthInfo.isFrom(this.authenticator, request.authInfo) && endsWithResponse(request);
    const requirements = requirementsOf(context.getHandler(), context.getClass());
    try {
      if (isAuthenticated) {
        this.authenticator.assertPermitted(request, request.authInfo?.token, requirements);
        return true;
      }
      const authentication = await this.authenticator.authenticate(request, need);
      this.authenticator.assertPermitted(request, authentication?.token, requirements);
      this.accept(context, request, authentication);
      return true;
    } catch (error) {
      throw await this.toException(error, context);
    }
  }

  /**
   * Extension point: returns what the handler requires. By default the nearest declaration says it: a decorator or a guard, on
   * the method, its class or a parent class.
   *
   * @returns `'public'`: the request is not authenticated, and scopes are not checked; `'optional'`: a request without a token
   * is accepted too; undefined: a valid token is required
   */
  protected getNeed(context: ExecutionContext): 'public' | 'optional' | undefined {
    const { need } = requirementsOf(context.getHandler(), context.getClass());
    return need === 'required' ? undefined : need;
  }

  /**
   * Extension point: returns the request to authenticate. For a GraphQL operation it is the request that contained the
   * operation, and for a socket or a subscription the handshake. Override it to support another type of context, for example
   * the messages of a microservice (`'rpc'`): return `{ headers: { authorization } }`. `@CurrentUser()` and `@CurrentToken()`
   * read the object that it returns.
   *
   * @throws Error for another type of context
   */
  protected getRequest(context: ExecutionContext): HttpRequest {
    return transportOf(context).getRequest(context);
  }

  /** @param authentication - null: the request has no token, and needs none */
  private accept(context: ExecutionContext, request: HttpRequest, authentication: Authentication | null): void {
    if (authentication && request instanceof Handshake) this.sockets.watch(request, authentication.token);
    else if (authentication && isEventStream(context)) {
      this.sockets.watchEventStream(request, context.switchToHttp().getResponse<object>(), authentication.token);
    }
    request.user = authentication?.user ?? null;
    request.authInfo = authentication ? new GuardAuthInfo(authentication.token, this.authenticator) : undefined;
  }

  /** Sets the headers of the response that a rejected request gets, and returns the error in the form of its transport. */
  private toException(error: unknown, context: ExecutionContext): Promise<unknown> {
    const transport = transportOf(context);
    const response = transport.getResponse(context);
    if (response) this.headers.setErrorHeaders(error, response);
    return transport.toException(error);
  }
}
