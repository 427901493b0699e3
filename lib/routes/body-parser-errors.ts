import type { AbstractHttpAdapter } from '@nestjs/core';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import type { HttpRequest } from '../transports/http-request.js';
import { type ExpiringTokenRoute, ROUTES } from './routes.js';

/** Returns the path of a request as a router reads it. */
function pathOf({ originalUrl = '' }: HttpRequest): string {
  const [path = ''] = originalUrl.split('?', 1);
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/**
 * Replaces the error for a body that is not JSON, on the module's own routes. The error of Express quotes the start of the
 * body, which may be a password.
 *
 * @param options - the options of the same names
 */
export function redactBodyParserErrors(
  adapter: AbstractHttpAdapter,
  { path, routes }: { path: string; routes: readonly ExpiringTokenRoute[] },
): void {
  if (adapter.getType() !== 'express' || routes.length === 0) return;
  const prefix = `/${path}/`.replaceAll(/\/+/g, '/').replaceAll('.', String.raw`\.`);
  const paths = routes.map((route) => ROUTES[route].paths);
  // The pattern has no start: a global prefix or a version may precede the path.
  const ownPath = new RegExp(`${prefix}(${paths.join('|')})/?$`, 'i');
  // Express recognizes an error handler by its four parameters.
  adapter.use((error: { type?: unknown }, request: HttpRequest, _response: unknown, next: (error: unknown) => void) => {
    const isOwnRoute = error.type === 'entity.parse.failed' && ownPath.test(pathOf(request));
    next(isOwnRoute ? new ExpiringTokenException('validation_failed', { message: 'body must be JSON' }) : error);
  });
}
