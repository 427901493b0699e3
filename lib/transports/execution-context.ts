import type { ExecutionContext } from '@nestjs/common';
import {
  bareConnection,
  type Connection,
  type NetSocket,
  socketIoConnection,
  type SocketIoClient,
  webSocketConnection,
  type WebSocketClient,
} from './connection.js';
import { Handshake, type Upgrade } from './handshake.js';
import type { HttpRequest } from './http-request.js';
import { upgradeOf } from './upgrade-requests.js';

/** Node's request, or Fastify's around it; an upgrade where it began a WebSocket. */
type AnyRequest = HttpRequest & Upgrade & { upgrade?: boolean; res?: unknown; raw?: Upgrade & { upgrade?: boolean } };

/** Of `graphql-ws`: a connection, which Apollo's driver puts at `req` of the context. */
interface GraphqlWsConnection {
  extra?: { socket: WebSocketClient; request: AnyRequest };
  connectionParams?: unknown;
}

/** What GraphQL contexts hold, as the drivers make them or applications do. */
interface GraphqlContext extends GraphqlWsConnection {
  req?: AnyRequest & GraphqlWsConnection;
  /** Mercurius. */
  request?: AnyRequest;
  reply?: { request?: AnyRequest; header?: unknown };
  app?: { websocketServer?: { clients: Iterable<WebSocketClient> } };
  _connectionInit?: unknown;
}

/** A client of a gateway. */
type GatewayClient = (SocketIoClient & {
  handshake: Upgrade & { auth?: unknown; address?: string };
  request?: Upgrade;
}) &
  WebSocketClient;

/** What is the same each time, for the same key. */
function memoised<T>(): (key: object, make: () => T) => T {
  const all = new WeakMap<object, { made: T }>();
  return (key, make) => {
    const { made } = all.get(key) ?? { made: make() };
    all.set(key, { made });
    return made;
  };
}

const handshakeFor = memoised<Handshake>();

/** By the socket beneath. A client of Mercurius that gives its parameters again has a handshake more, and no connection. */
const connectionFor = memoised<Connection>();

/** The socket beneath a socket of `ws`. */
const beneath = (client: object): unknown => (client as { _socket?: unknown })['_socket'];

/**
 * The request that a handler answers, and is let in by: of a GraphQL operation the one that brought it, of a socket its
 * handshake.
 */
export function requestOf(context: ExecutionContext): HttpRequest {
  const type: string = context.getType();
  if (type === 'http') return context.switchToHttp().getRequest();
  if (type === 'ws') return handshakeOf(context.switchToWs().getClient());
  if (type === 'graphql') return requestOfGraphql(graphqlContextOf(context), isSubscription(context));
  throw new Error(`ExpiringTokenGuard: ${type} is not supported. Override getRequest for it.`);
}

/** The response whose headers can still be set; undefined where there is none. */
export function responseOf(context: ExecutionContext): unknown {
  const type: string = context.getType();
  if (type === 'http') return context.switchToHttp().getResponse();
  if (type !== 'graphql') return undefined;
  const { reply, req } = graphqlContextOf(context);
  const response = typeof reply?.header === 'function' ? reply : req?.res;
  return (response as { headersSent?: boolean } | undefined)?.headersSent ? undefined : response;
}

/** Whether a request is over with its answer: what was let in by a connection may be dead by its next message. */
export const isAnsweredOnce = (request: HttpRequest): boolean =>
  !(request instanceof Handshake) && (request.rawHeaders ?? request.raw) !== undefined;

/**
 * The handshake of a gateway's client.
 *
 * @param request - with which it connected, where the client does not tell
 */
export function handshakeOf(client: object, request?: object): Handshake {
  return handshakeFor(client, () => {
    const { handshake, request: began = handshake } = client as GatewayClient;
    if (handshake) {
      const { rawHeaders, url } = began;
      const upgrade = { headers: handshake.headers, rawHeaders, url, socket: { remoteAddress: handshake.address } };
      return new Handshake(connectionOf(client), upgrade, { auth: handshake.auth });
    }
    const upgrade = (request as Upgrade | undefined) ?? upgradeOf(client, beneath(client));
    if (!upgrade) {
      throw new Error(
        'The request of this socket is not known: call SocketAuthenticator.authenticate(client, request) in handleConnection.',
      );
    }
    return new Handshake(connectionOf(client), upgrade, undefined);
  });
}

/** The connection of a gateway's client. */
export const connectionOf = (client: object): Connection =>
  (client as GatewayClient).handshake
    ? socketIoConnection(client as SocketIoClient)
    : webSocketConnection(client as WebSocketClient, true);

/** A reference resolver has no arguments: its context stands one place before. */
function graphqlContextOf(context: ExecutionContext): GraphqlContext {
  const args = context.getArgs();
  return (args.length === 3 ? args[1] : args[2]) ?? {};
}

/** By what the operation is, of whatever field the resolver is. */
const isSubscription = (context: ExecutionContext): boolean =>
  context.getArgs<{ operation?: { operation?: string } }[]>().at(-1)?.operation?.operation === 'subscription';

function requestOfGraphql(context: GraphqlContext, lasts: boolean): HttpRequest {
  for (const { extra, connectionParams } of [context.req ?? {}, context] as GraphqlWsConnection[]) {
    if (extra?.request) {
      return handshakeOfGraphql(extra.request, connectionParams, () => webSocketConnection(extra.socket, false));
    }
  }
  const request = context.req ?? context.request ?? context.reply?.request;
  if (!request?.headers) {
    throw new Error(
      'ExpiringTokenGuard: there is no request in the GraphQL context. Return { req } from the option context.',
    );
  }
  const raw = request.raw ?? request;
  if (!raw.upgrade && !lasts) return request;
  const given = context['_connectionInit'] ?? context.connectionParams;
  const socket = raw.socket as Partial<NetSocket> | undefined;
  return handshakeOfGraphql(request, given, () => socket?.once && connectionBeneath(socket as NetSocket, context));
}

/** Made anew for what is given anew: Mercurius lets a client do so. */
function handshakeOfGraphql(request: AnyRequest, given: unknown, connect: () => Connection | undefined): Handshake {
  const upgrade = request.raw ?? request;
  const key = typeof given === 'object' && given !== null ? given : upgrade;
  return handshakeFor(key, () => new Handshake(connect(), upgrade, given));
}

/** Mercurius shows a resolver neither the socket nor a way to close it, but those of all clients. */
const connectionBeneath = (socket: NetSocket, { app }: GraphqlContext): Connection =>
  connectionFor(socket, () => {
    const client = [...(app?.websocketServer?.clients ?? [])].find((one) => beneath(one) === socket);
    return client ? webSocketConnection(client, false) : bareConnection(socket);
  });
