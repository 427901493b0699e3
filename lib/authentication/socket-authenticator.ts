import { Injectable } from '@nestjs/common';
import { HideFromInspect } from '../errors/hide-from-inspect.decorator.js';
import type { Authentication } from '../tokens/token.interfaces.js';
import { RequestAuthenticator } from './request-authenticator.js';

/**
 * Authenticates the clients of a gateway when they connect: guards run for messages alone, and a client may never send one.
 *
 * @example
 * ```ts
 * @WebSocketGateway()
 * export class NewsGateway implements OnGatewayConnection {
 *   constructor(private readonly sockets: SocketAuthenticator) {}
 *
 *   async handleConnection(client: Socket, request: object) {
 *     const authentication = await this.sockets.authenticate(client, request);
 *     if (authentication) await client.join(authentication.token.userId);
 *   }
 * }
 * ```
 */
@HideFromInspect()
@Injectable()
export class SocketAuthenticator {
  /** @internal Nest makes it. */
  constructor(private readonly authenticator: RequestAuthenticator) {}

  /**
   * The user and the token of a client, whose connection ends with the token from now on. A client that is refused is told
   * so by the event `exception`, and its connection is closed; by `ws` with the code 4401, or 1013 for `unavailable`.
   *
   * @param client - of `socket.io` or `ws`
   * @param request - the second parameter of `handleConnection`, which `ws` needs
   * @returns null for a client that was refused. Never rejects: Nest looks at no promise of `handleConnection`, so that a
   * rejection would end the process
   */
  authenticate(client: object, request?: object): Promise<Authentication | null> {
    return this.authenticator.authenticateClient(client, request);
  }
}
