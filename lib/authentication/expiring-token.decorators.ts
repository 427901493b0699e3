import { createParamDecorator, type ExecutionContext, SetMetadata } from '@nestjs/common';
import type { HttpRequest } from '../transports/http-request.js';
import { transportOf } from '../transports/transport-of.js';

/** Metadata key of what the guard asks of a route: `public`, nothing; `optional`, a good token or none; else a good token. */
export const AUTHENTICATION = 'expiring-token:authentication';

/** No authentication here: {@link ExpiringTokenGuard} lets every request pass and reads no token. */
export const Public = () => SetMetadata(AUTHENTICATION, 'public');

/** A request without a token passes, and `request.user` is null; one with a bad token is refused all the same. */
export const OptionalToken = () => SetMetadata(AUTHENTICATION, 'optional');

const requestOf = (context: ExecutionContext): HttpRequest => transportOf(context).getRequest(context);

/** Parameter: the user that the token belongs to, as `UserStore.findById` returned it; null where there is none. */
export const CurrentUser = createParamDecorator((_: unknown, context) => requestOf(context).user ?? null);

/** Parameter: the row of the token in use, a {@link Token}; null where there is none. */
export const CurrentToken = createParamDecorator((_: unknown, context) => requestOf(context).authInfo?.token ?? null);
