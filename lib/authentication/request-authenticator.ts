import { Inject, Injectable, Logger } from '@nestjs/common';
import { RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { describeError } from '../errors/describe-error.js';
import { OpenConnections } from '../transports/open-connections.js';
import { RecoverableClients } from '../transports/recoverable-clients.js';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import type { Token } from '../tokens/token.entity.js';
import type { Authentication } from '../tokens/token.interfaces.js';
import { AuthenticationLogger } from './authentication.logger.js';
import { readBearerToken } from './bearer-token.js';
import { Handshake } from '../transports/handshake.js';
import type { HttpRequest } from '../transports/http-request.js';
import { rejectRefreshToken } from './refresh-token.js';
import { connectionOf, handshakeOf } from '../transports/websocket.transport.js';

const HIDDEN_CONNECTION =
  'The GraphQL context does not show the connection of this subscription, which is to end with its token. ' +
  'Return { req, extra, connectionParams } from the option context.';

/** Tells who sent a request, or opened a connection. The guard, the Passport strategy and SocketAuthenticator are its doors. */
@Injectable()
export class RequestAuthenticator {
  private readonly logger = new Logger('ExpiringToken');
  private readonly restorable = new RecoverableClients((client) => void this.authenticateClient(client));

  constructor(
    private readonly tokens: ExpiringTokenService,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    private readonly log: AuthenticationLogger,
    private readonly connections: OpenConnections,
  ) {}

  /**
   * @param need - `optional`: a request without a token is let in too
   * @returns null for that one
   * @throws ExpiringTokenException whatever keeps the request out
   */
  async authenticate(request: HttpRequest, need: 'optional'): Promise<Authentication | null>;
  async authenticate(request: HttpRequest): Promise<Authentication>;
  async authenticate(request: HttpRequest, need?: 'optional'): Promise<Authentication | null> {
    rejectRefreshToken(request, this.options);
    const token = readBearerToken(request, this.options.schemes);
    if (token === null) {
      if (need === 'optional') return null;
      throw new ExpiringTokenException('token_missing');
    }
    try {
      const authentication = await this.tokens.authenticate(token);
      if (request instanceof Handshake) this.watch(request, token, authentication.token);
      return authentication;
    } catch (error) {
      this.log.refused(request, error);
      throw error;
    }
  }

  /**
   * {@link authenticate} for a client of a gateway that has connected. Who is refused is told, and closed.
   *
   * @param request - with which it connected, where the client does not tell
   * @returns null for a client that was refused. Never rejects: nobody looks at this promise, so that a rejection would end
   * the process
   */
  async authenticateClient(client: object, request?: object): Promise<Authentication | null> {
    try {
      return await this.authenticate(handshakeOf(client, request));
    } catch (error) {
      const isRefusal = error instanceof ExpiringTokenException;
      if (!isRefusal) this.logger.error(`A client that connected is refused: ${describeError(error)}`);
      const connection = connectionOf(client);
      if (connection.isOpen) connection.close(isRefusal ? error : new ExpiringTokenException('unavailable'));
      return null;
    }
  }

  private watch({ connection }: Handshake, plainText: string, token: Token): void {
    if (!connection) throw new Error(HIDDEN_CONNECTION);
    this.connections.watch(connection, plainText, token);
    if (connection.recoverable) this.restorable.remember(connection.recoverable);
  }
}
