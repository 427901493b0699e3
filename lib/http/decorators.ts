import { createParamDecorator, type ExecutionContext, SetMetadata } from '@nestjs/common';
import type { Token } from '../tokens/token.entity.js';
import type { HttpRequest } from './http-request.js';

/** Metadata key of what {@link ExpiringTokenGuard} asks of a route. */
export const AUTHENTICATION = 'expiring-token:authentication';

/** `public`: nothing. `optional`: a good token or none. Otherwise a good token. */
export type AuthenticationNeed = 'public' | 'optional';

/** No authentication here: {@link ExpiringTokenGuard} lets every request pass and reads no token. */
export const Public = () => SetMetadata(AUTHENTICATION, 'public' satisfies AuthenticationNeed);

/** A request without a token passes, and `request.user` is null; one with a bad token is refused all the same. */
export const OptionalToken = () => SetMetadata(AUTHENTICATION, 'optional' satisfies AuthenticationNeed);

/** What {@link ExpiringTokenGuard} and the Passport strategy put at `request.authInfo`. */
export interface ExpiringTokenAuthInfo {
  /** The row of the token in use. */
  token: Token;
}

const requestOf = (context: ExecutionContext) => context.switchToHttp().getRequest<HttpRequest>();

/** Parameter: the user that the token belongs to, as `UserStore.findById` returned it; null where there is none. */
export const CurrentUser = createParamDecorator((_: unknown, context) => requestOf(context).user ?? null);

/** Parameter: the row of the token in use, a {@link Token}; null where there is none. */
export const CurrentToken = createParamDecorator(
  (_: unknown, context) => (requestOf(context).authInfo as ExpiringTokenAuthInfo | undefined)?.token ?? null,
);
