import type { AbstractHttpAdapter } from '@nestjs/core';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import type { ExpiringTokenRoute } from '../expiring-token.module-options.js';
import type { ResolvedModuleOptions } from '../expiring-token.module-options.js';
import type { HttpRequest } from '../transports/http-request.js';

/** The ends of the paths that take a POST or a PATCH. */
const PATHS: Record<ExpiringTokenRoute, string> = {
  login: 'login',
  'obtain-token': 'obtain-token',
  token: 'token',
  refresh: 'refresh',
  logout: 'logout(-all)?',
  devices: 'devices/[^/]+',
};

/** The path of a request as a router reads it. */
function pathOf({ originalUrl = '' }: HttpRequest): string {
  const [path = ''] = originalUrl.split('?', 1);
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/**
 * On Express, the answer to a body that is no JSON quotes the start of it, which may be a password. On the module's own
 * routes it says only that.
 */
export function redactBodyParserErrors(adapter: AbstractHttpAdapter, { path, routes }: ResolvedModuleOptions): void {
  if (adapter.getType() !== 'express' || routes.length === 0) return;
  // A global prefix or a version may stand before it.
  const prefix = `/${path}/`.replaceAll(/\/+/g, '/').replaceAll('.', String.raw`\.`);
  const ownPath = new RegExp(`${prefix}(${routes.map((route) => PATHS[route]).join('|')})/?$`, 'i');
  // Express knows a handler of errors by its four parameters.
  adapter.use((error: { type?: unknown }, request: HttpRequest, _response: unknown, next: (error: unknown) => void) => {
    const own = error.type === 'entity.parse.failed' && ownPath.test(pathOf(request));
    next(own ? new ExpiringTokenException('validation_failed', { message: 'body must be JSON' }) : error);
  });
}
