import { Injectable, Logger } from '@nestjs/common';
import { ExpiringTokenException } from '../expiring-token.exception.js';
import { describe } from '../log-text.js';
import { Opaque } from '../opaque.js';
import type { Authentication } from '../tokens/token.interfaces.js';
import { RequestAuthenticator } from './request-authenticator.js';
import { connectionOf, handshakeOf } from './request-of.js';

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
@Opaque()
@Injectable()
export class SocketAuthenticator {
  private readonly logger = new Logger('ExpiringToken');

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
  async authenticate(client: object, request?: object): Promise<Authentication | null> {
    try {
      return await this.authenticator.authenticate(handshakeOf(client, request));
    } catch (error) {
      const isRefusal = error instanceof ExpiringTokenException;
      if (!isRefusal) this.logger.error(`A client that connected is refused: ${describe(error)}`);
      const connection = connectionOf(client);
      if (connection.isOpen) connection.close(isRefusal ? error : new ExpiringTokenException('unavailable'));
      return null;
    }
  }
}
