import { inspect } from 'node:util';
import type { Authentication } from '../tokens/token.interfaces.js';
import type { Token } from '../tokens/token.entity.js';
import type { ExpiringTokenAuthInfo } from '../transports/http-request.js';
import type { RequestAuthenticator } from './request-authenticator.js';

/**
 * The `authInfo` of a request that the guard accepted. With it, a guard that runs again for the same request (a global guard and
 * the guard of a route, or the guards of several resolvers) recognizes that the request is authenticated, and does not query
 * the token again.
 */
export class GuardAuthInfo implements ExpiringTokenAuthInfo {
  /** The row of the token. It is made when something reads it. */
  declare token: Token;
  #authentication: Pick<Authentication, 'token'>;
  readonly #authenticator: RequestAuthenticator;

  /** A property of each object, so that code which copies or serializes an object finds it. */
  static readonly #TOKEN: PropertyDescriptor & ThisType<GuardAuthInfo> = {
    enumerable: true,
    configurable: true,
    get() {
      return this.#authentication.token;
    },
    set(token: Token) {
      this.#authentication = { token };
    },
  };

  constructor(authentication: Pick<Authentication, 'token'>, authenticator: RequestAuthenticator) {
    this.#authentication = authentication;
    this.#authenticator = authenticator;
    Object.defineProperty(this, 'token', GuardAuthInfo.#TOKEN);
  }

  /**
   * Whether a guard with this authenticator created the auth info. Another application in the process may have its own users
   * and share the server, so its guard's decision must not count here.
   */
  static isFrom(authenticator: RequestAuthenticator, authInfo: unknown): boolean {
    return authInfo instanceof GuardAuthInfo && authInfo.#authenticator === authenticator;
  }

  /** Otherwise `util.inspect` would show a getter in place of the token. */
  [inspect.custom](): ExpiringTokenAuthInfo {
    return { token: this.token };
  }
}
