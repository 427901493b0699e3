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
import type { TokenHolder } from './token-permission.js';

/** The same promise for all calls that need no query. */
const ACCEPTED = Promise.resolve(true);

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
  canActivate(context: ExecutionContext): Promise<boolean> {
    try {
      const need = this.getNeed(context);
      if (need === 'public') return ACCEPTED;
      const request = this.getRequest(context);
      if (this.getRequest !== ExpiringTokenGuard.prototype.getRequest) rememberRequest(context, request);
      return this.#admit(context, request, need);
    } catch (error) {
      return Promise.reject(error);
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

  // The methods below are private in JavaScript too: a method of a subclass that happens to have the same name must not replace
  // a check.

  /** A cached token is accepted without a further promise, which would take as long as the rest. */
  #admit(context: ExecutionContext, request: HttpRequest, need: 'optional' | undefined): Promise<boolean> {
    try {
      // A guard of this application accepted the request before.
      if (GuardAuthInfo.isFrom(this.authenticator, request.authInfo) && endsWithResponse(request)) {
        this.#assertPermitted(context, request, request.authInfo);
        return ACCEPTED;
      }
      const authentication = this.authenticator.authenticate(request, need);
      if (authentication instanceof Promise) return this.#acceptWhenFound(context, request, authentication);
      this.#accept(context, request, authentication);
      return ACCEPTED;
    } catch (error) {
      return this.#reject(error, context);
    }
  }

  async #acceptWhenFound(
    context: ExecutionContext,
    request: HttpRequest,
    finding: Promise<Authentication | null>,
  ): Promise<boolean> {
    try {
      this.#accept(context, request, await finding);
      return true;
    } catch (error) {
      return this.#reject(error, context);
    }
  }

  /** @param holder - of the token; null or undefined: the request has none, and needs none */
  #assertPermitted(context: ExecutionContext, request: HttpRequest, holder: TokenHolder | null | undefined): void {
    this.authenticator.assertPermitted(
      request,
      holder ?? undefined,
      requirementsOf(context.getHandler(), context.getClass()),
    );
  }

  /** @param authentication - null: the request has no token, and needs none */
  #accept(context: ExecutionContext, request: HttpRequest, authentication: Authentication | null): void {
    this.#assertPermitted(context, request, authentication);
    if (authentication && request instanceof Handshake) this.sockets.watch(request, authentication.token);
    else if (authentication && isEventStream(context)) {
      this.sockets.watchEventStream(request, context.switchToHttp().getResponse<object>(), authentication.token);
    }
    request.user = authentication?.user ?? null;
    request.authInfo = authentication ? new GuardAuthInfo(authentication, this.authenticator) : undefined;
  }

  /** Sets the headers of the response that a rejected request gets, and throws the error in the form of its transport. */
  async #reject(error: unknown, context: ExecutionContext): Promise<never> {
    const transport = transportOf(context);
    const response = transport.getResponse(context);
    if (response) this.headers.setErrorHeaders(error, response);
    throw await transport.toException(error);
  }
}
