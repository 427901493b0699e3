import type { Token } from '../tokens/token.entity.js';
import type { ExpiringTokenAuthInfo } from '../transports/http-request.js';
import type { RequestAuthenticator } from './request-authenticator.js';

/**
 * The `authInfo` of a request that the guard accepted. With it, a guard that runs again for the same request (a global guard and
 * the guard of a route, or the guards of several resolvers) recognizes that the request is authenticated, and does not query
 * the token again.
 */
export class GuardAuthInfo implements ExpiringTokenAuthInfo {
  readonly #authenticator: RequestAuthenticator;

  constructor(
    readonly token: Token,
    authenticator: RequestAuthenticator,
  ) {
    this.#authenticator = authenticator;
  }

  /**
   * Whether a guard with this authenticator created the auth info. Another application in the process may have its own users
   * and share the server, so its guard's decision must not count here.
   */
  static isFrom(authenticator: RequestAuthenticator, authInfo: unknown): boolean {
    return authInfo instanceof GuardAuthInfo && authInfo.#authenticator === authenticator;
  }
}
