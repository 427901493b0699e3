import type { Token } from '../tokens/token.entity.js';
import type { ExpiringTokenAuthInfo, HttpRequest } from './http-request.js';
import type { RequestAuthenticator } from './request-authenticator.js';

/**
 * On a request that a guard has let pass already: where it stands on the application and on the route, or on several
 * resolvers, it asks once.
 */
export class Passed implements ExpiringTokenAuthInfo {
  readonly #authenticator: RequestAuthenticator;
  readonly #waitedMs: number;

  constructor(
    readonly token: Token,
    authenticator: RequestAuthenticator,
    waitedMs: number,
  ) {
    this.#authenticator = authenticator;
    this.#waitedMs = waitedMs;
  }

  /** Whether a guard of the same application let it pass: another one may share the server, and know other users. */
  static by(authenticator: RequestAuthenticator, { authInfo }: HttpRequest): boolean {
    return authInfo instanceof Passed && authInfo.#authenticator === authenticator;
  }

  /** How long the guard waited for the database. */
  static waitedMs({ authInfo }: HttpRequest): number {
    return authInfo instanceof Passed ? authInfo.#waitedMs : 0;
  }
}
