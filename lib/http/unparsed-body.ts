import type { AbstractHttpAdapter } from '@nestjs/core';
import { ExpiringTokenException } from '../expiring-token.exception.js';
import type { HttpRequest } from './http-request.js';

/** The path of a request as a router reads it: decoded, in lower case. */
function pathOf({ originalUrl = '' }: HttpRequest): string {
  const [path = ''] = originalUrl.split('?', 1);
  try {
    return decodeURIComponent(path).toLowerCase();
  } catch {
    return path.toLowerCase();
  }
}

/**
 * On Express, the answer to a body that is no JSON quotes the start of it, which may be a password. Below the module's own
 * path it says only that.
 *
 * @param path - prefix of the routes
 */
export function hideUnparsedBodies(adapter: AbstractHttpAdapter, path: string): void {
  if (adapter.getType() !== 'express') return;
  // A global prefix or a version may stand before it.
  const ownPath = `/${path}/`.replace(/\/+/g, '/').toLowerCase();
  // Express knows a handler of errors by its four parameters.
  adapter.use((error: { type?: unknown }, request: HttpRequest, _response: unknown, next: (error: unknown) => void) => {
    const own = error.type === 'entity.parse.failed' && pathOf(request).includes(ownPath);
    next(own ? new ExpiringTokenException('validation_failed', { message: 'body must be JSON' }) : error);
  });
}
