import { createParamDecorator, type ExecutionContext, SetMetadata } from '@nestjs/common';
import type { HttpRequest } from '../transports/http-request.js';
import { transportOf } from '../transports/transport-of.js';

/**
 * Metadata key of what a handler or class requires: `'public'`, no authentication; `'optional'`, a valid token or none.
 * Without metadata a valid token is required.
 */
export const AUTHENTICATION = 'expiring-token:authentication';

/**
 * Opens a handler, or all handlers of a class, to everybody: {@link ExpiringTokenGuard} accepts every request and does not
 * read its token, so `@CurrentUser()` is null. On a method it overrides the decorator of the class.
 *
 * @example
 * ```ts
 * @Public()
 * @Get('health')
 * health() {
 *   return { status: 'ok' };
 * }
 * ```
 */
export const Public = () => SetMetadata(AUTHENTICATION, 'public');

/**
 * Accepts a request without a token, and then `request.user` is null. {@link ExpiringTokenGuard} still rejects a request with
 * an invalid token, with the same errors as on any other route. On a method it overrides the decorator of the class.
 *
 * @example
 * ```ts
 * @OptionalToken()
 * @Get('news')
 * news(@CurrentUser() user: User | null) {
 *   return user ? this.news.of(user.id) : this.news.all();
 * }
 * ```
 */
export const OptionalToken = () => SetMetadata(AUTHENTICATION, 'optional');

const requestOf = (context: ExecutionContext): HttpRequest => transportOf(context).getRequest(context);

/**
 * Parameter decorator: the authenticated user, as `UserStore.findById` returned it; null if the request was accepted without
 * a token. Works in controllers, resolvers and gateways.
 *
 * @example
 * ```ts
 * @Get('me')
 * me(@CurrentUser() user: User) {
 *   return { id: user.id, username: user.username };
 * }
 * ```
 */
export const CurrentUser = createParamDecorator((_: unknown, context) => requestOf(context).user ?? null);

/**
 * Parameter decorator: the row of the token in use, a {@link Token}; null if the request was accepted without a token. The
 * row does not contain the secret of the token.
 *
 * @example
 * ```ts
 * @Get('session')
 * session(@CurrentToken() token: Token) {
 *   return { deviceId: token.deviceId, since: token.created };
 * }
 * ```
 */
export const CurrentToken = createParamDecorator((_: unknown, context) => requestOf(context).authInfo?.token ?? null);
