import { Injectable } from '@nestjs/common';
import { describeError } from '../errors/describe-error.js';
import { PackageLogger } from '../errors/package.logger.js';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { HideFromInspect } from '../errors/hide-from-inspect.decorator.js';
import { Token } from '../tokens/token.entity.js';
import type { Authentication } from '../tokens/token.interfaces.js';
import type { Connection } from '../transports/connection.js';
import type { Handshake } from '../transports/handshake.js';
import type { HttpRequest } from '../transports/http-request.js';
import { memoizeByObject } from '../transports/memoize-by-object.js';
import { OpenConnections } from '../transports/open-connections.js';
import { RecoverableClients } from '../transports/recoverable-clients.js';
import { eventStreamConnection, responseConnection } from '../transports/response-connection.js';
import { connectionOf, handshakeOf } from '../transports/websocket.transport.js';
import { RequestAuthenticator } from './request-authenticator.js';

const HIDDEN_CONNECTION =
  'The GraphQL context does not contain the connection of this subscription, which must be closed when its token ends. ' +
  'Return { req, extra, connectionParams } from the option context.';

const NOT_AUTHENTICATED =
  'watchResponse: no guard has authenticated this request. Add @UseGuards(ExpiringTokenGuard) to the handler.';

const connectionFor = memoizeByObject<Connection>();

/** Returns the same connection each time, so that a response is watched once for each token. */
const responseFor = (response: object, connect: (response: object) => Connection): Connection =>
  connectionFor(response, () => connect(response));

/**
 * Authenticates the clients of a gateway when they connect, and closes their connections when their tokens end. Guards run for
 * messages only, and a client that only listens never sends one. It also ends HTTP responses that take long.
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
  private readonly logger = new PackageLogger();
  private readonly recoverable = new RecoverableClients((client) => void this.authenticate(client));

  /** @internal Nest creates the authenticator. */
  constructor(
    private readonly authenticator: RequestAuthenticator,
    private readonly connections: OpenConnections,
  ) {}

  /**
   * Authenticates a client by the token of its handshake, and returns its user and token. From then on the connection is
   * closed when the token ends.
   *
   * A client without a valid token is rejected: it receives the event `exception`, and its connection is closed. For `ws` the
   * close code is 4401, or 1013 (RFC 6455 §11.7, Try Again Later) if the database is unavailable; the reason is the code of
   * the error.
   *
   * @param client - a client of `socket.io` or `ws`
   * @param request - the second parameter of `handleConnection`, which is needed for `ws`
   * @returns null if the client was rejected. The promise never rejects, because Nest does not handle the promise that
   * `handleConnection` returns: an unhandled rejection would end the process
   */
  async authenticate(client: object, request?: object): Promise<Authentication | null> {
    try {
      const handshake = handshakeOf(client, request);
      const { user, token } = await this.authenticator.authenticate(handshake);
      this.watch(handshake, token);
      return { user, token };
    } catch (error) {
      this.reject(client, error);
      return null;
    }
  }

  /**
   * Closes the connection of an authenticated handshake when the token ends.
   *
   * @internal The guard calls it when it has accepted a message or a subscription.
   * @throws Error if the connection is unknown
   */
  watch(handshake: Handshake, token: Token): void {
    const { connection } = handshake;
    if (!connection) throw new Error(HIDDEN_CONNECTION);
    this.watchConnection(handshake, connection, token);
    if (connection.recoverable) this.recoverable.remember(connection.recoverable);
  }

  /**
   * Aborts a response that takes long when the token of its request ends, for example a large download. Call it in the handler,
   * before the response is sent. A handler with `@Sse()` does not need it, because its guard watches the stream.
   *
   * Does nothing for a request that was accepted without a token, or by another Passport strategy.
   *
   * @param request - the request of Express or Fastify, which a guard of this package has accepted
   * @param response - the response of Express, or the reply of Fastify
   * @throws Error if no guard has authenticated the request
   * @example
   * ```ts
   * @Get('export')
   * @UseGuards(ExpiringTokenGuard)
   * export(@Req() request: Request, @Res({ passthrough: true }) response: Response) {
   *   this.sockets.watchResponse(request, response);
   *   return new StreamableFile(this.notes.exportAll());
   * }
   * ```
   */
  watchResponse(request: HttpRequest, response: object): void {
    if (request.user === undefined) throw new Error(NOT_AUTHENTICATED);
    const token = request.authInfo?.token;
    if (token instanceof Token) this.watchConnection(request, responseFor(response, responseConnection), token);
  }

  /**
   * Ends the stream of a handler with `@Sse()` when the token ends.
   *
   * @internal The guard and the Passport strategy call it.
   */
  watchEventStream(request: HttpRequest, response: object, token: Token): void {
    this.watchConnection(request, responseFor(response, eventStreamConnection), token);
  }

  private watchConnection(request: HttpRequest, connection: Connection, token: Token): void {
    const plainText = this.authenticator.readToken(request);
    if (plainText === null) throw new ExpiringTokenException('token_missing');
    this.connections.watch(connection, plainText, token);
  }

  private reject(client: object, error: unknown): void {
    const isExpected = error instanceof ExpiringTokenException;
    if (!isExpected) this.logger.error(`A client was rejected when it connected: ${describeError(error)}`);
    const connection = connectionOf(client);
    if (connection.isOpen) connection.close(isExpected ? error : new ExpiringTokenException('unavailable'));
  }
}
