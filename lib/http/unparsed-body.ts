import type { AbstractHttpAdapter } from '@nestjs/core';
import { ExpiringTokenException } from '../expiring-token.exception.js';
import type { HttpRequest } from './http-request.js';

/** The routes of the module that read a body. */
const ROUTES_WITH_BODY = '(login|obtain-token|logout-all|devices/[^/]+)';

/**
 * On Express, the answer to a body that is no JSON quotes the start of it, which may be a password. On the module's own
 * routes it says only that.
 *
 * @param path - prefix of the routes
 */
export function hideUnparsedBodies(adapter: AbstractHttpAdapter, path: string): void {
  if (adapter.getType() !== 'express') return;
  const prefix = path.replace(/^\/+|\/+$/g, '').replaceAll('.', '\\.');
  const ownRoute = new RegExp(`/${prefix && `${prefix}/`}${ROUTES_WITH_BODY}/?$`, 'i');
  // Express knows a handler of errors by its four parameters.
  adapter.use((error: { type?: unknown }, request: HttpRequest, _response: unknown, next: (error: unknown) => void) => {
    const [pathname = ''] = (request.originalUrl ?? '').split('?', 1);
    const own = error.type === 'entity.parse.failed' && ownRoute.test(pathname);
    next(own ? new ExpiringTokenException('validation_failed', { message: 'body must be JSON' }) : error);
  });
}
