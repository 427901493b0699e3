import type { AbstractHttpAdapter } from '@nestjs/core';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { PACKAGE_ROUTE } from './package-routes.decorator.js';

/** What this file reads of a request of Express. */
interface ExpressRequest {
  method: string;
  path: string;
}

/** An entry of the router of Express: a middleware, or a route with its handlers. */
interface Layer {
  match(path: string): boolean;
  route?: { methods: Record<string, boolean>; stack: readonly { handle: object }[] };
}

const acceptsMethod = ({ route }: Layer, method: string): boolean => route?.methods[method.toLowerCase()] === true;

const isOfPackage = ({ route }: Layer): boolean =>
  route?.stack.some(({ handle }) => Reflect.hasMetadata(PACKAGE_ROUTE, handle)) === true;

/**
 * Whether a request was sent to a route of the application, and to none of this package. A request without a route may be a login
 * whose client has a wrong path.
 */
function isForApplication(layers: readonly Layer[], { method, path }: ExpressRequest): boolean {
  try {
    const matching = layers.filter((layer) => acceptsMethod(layer, method) && layer.match(path));
    return matching.length > 0 && !matching.some(isOfPackage);
  } catch {
    // The path cannot be decoded.
    return false;
  }
}

/**
 * Replaces the error for a body that is not JSON, unless the request was sent to a route of the application. The error
 * of Express quotes the start of the body, which may be a password.
 *
 * Only the router knows the path of a route: global prefixes, versions and the application's `RouterModule` are parts of it.
 */
export function redactBodyParserErrors(adapter: AbstractHttpAdapter): void {
  if (adapter.getType() !== 'express') return;
  const express: { router: { stack: readonly Layer[] } } = adapter.getInstance();
  // Express recognizes an error handler by its four parameters.
  adapter.use((error: { type?: unknown }, request: ExpressRequest, _: unknown, next: (error: unknown) => void) => {
    const isRedacted = error.type === 'entity.parse.failed' && !isForApplication(express.router.stack, request);
    next(isRedacted ? new ExpiringTokenException('validation_failed', { message: 'body must be JSON' }) : error);
  });
}
