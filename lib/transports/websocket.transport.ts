import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import {
  type Connection,
  exceptionPayload,
  netSocketOf,
  socketIoConnection,
  type SocketIoClient,
  webSocketConnection,
  type WebSocketClient,
} from './connection.js';
import { Handshake, type UpgradeRequest } from './handshake.js';
import { memoizeByObject } from './memoize-by-object.js';
import type { Transport } from './transport.interface.js';
import { upgradeRequestOf } from './upgrade-requests.js';

/** A client of Socket.IO, with the request that opened its connection. */
type GatewaySocketIoClient = SocketIoClient & {
  handshake: UpgradeRequest & { auth?: unknown; address?: string };
  request?: UpgradeRequest;
};

/** Messages of gateways, from clients of Socket.IO and ws. */
export const webSocketTransport: Transport = {
  getRequest: (context) => handshakeOf(context.switchToWs().getClient()),

  getResponse: () => undefined,

  async toException(error) {
    if (!(error instanceof ExpiringTokenException)) return error;
    // An optional peer. It is installed in an application that has a gateway.
    const { WsException } = await import('@nestjs/websockets');
    return new WsException(exceptionPayload(error));
  },
};

const handshakeFor = memoizeByObject<Handshake>();

/**
 * Returns the handshake of a gateway's client.
 *
 * @param request - the request that opened the connection, which a client of ws does not contain
 * @throws Error if the request of a ws client is unknown
 */
export const handshakeOf = (client: object, request?: object): Handshake =>
  handshakeFor(client, () =>
    isSocketIo(client) ? handshakeOfSocketIo(client) : handshakeOfWs(client as WebSocketClient, request),
  );

/** Returns the connection of a gateway's client. */
export const connectionOf = (client: object): Connection =>
  isSocketIo(client) ? socketIoConnection(client) : webSocketConnection(client as WebSocketClient, true);

const isSocketIo = (client: object): client is GatewaySocketIoClient =>
  Boolean((client as Partial<GatewaySocketIoClient>).handshake);

function handshakeOfSocketIo(client: GatewaySocketIoClient): Handshake {
  const { handshake, request = handshake } = client;
  const { headers, address, auth } = handshake;
  const { rawHeaders, url } = request;
  return new Handshake(
    connectionOf(client),
    { headers, rawHeaders, url, socket: { remoteAddress: address } },
    { auth },
  );
}

function handshakeOfWs(client: WebSocketClient, request?: object): Handshake {
  const upgrade = (request as UpgradeRequest | undefined) ?? upgradeRequestOf(client, netSocketOf(client));
  if (!upgrade) {
    throw new Error(
      'The request that opened this socket is unknown: call SocketAuthenticator.authenticate(client, request) in handleConnection.',
    );
  }
  return new Handshake(connectionOf(client), upgrade, undefined);
}
