import { type ExecutionContext, HttpException } from '@nestjs/common';
import { type ExpiringTokenErrorCode, ExpiringTokenException } from '../errors/expiring-token.exception.js';
import {
  type Connection,
  netSocketConnection,
  type NetSocket,
  netSocketOf,
  webSocketConnection,
  type WebSocketClient,
} from './connection.js';
import { Handshake, type UpgradeRequest } from './handshake.js';
import type { HttpRequest } from './http-request.js';
import { memoizeByObject, memoizeByPair } from './memoize-by-object.js';
import type { Transport } from './transport.interface.js';

/** Node's request, or Fastify's wrapper around it. `upgrade` is true if the request opened a WebSocket. */
type NodeOrFastifyRequest = HttpRequest &
  UpgradeRequest & { upgrade?: boolean; res?: unknown; raw?: UpgradeRequest & { upgrade?: boolean } };

/** What `graphql-ws` shows of a connection. Apollo's driver puts it at `req` of the GraphQL context. */
interface GraphqlWsConnection {
  extra?: { socket: WebSocketClient; request: NodeOrFastifyRequest };
  connectionParams?: unknown;
}

/** The parts of a GraphQL context that are read here: contexts are made by a driver, or by the application. */
interface GraphqlContext extends GraphqlWsConnection {
  req?: NodeOrFastifyRequest & GraphqlWsConnection;
  /** Set by Mercurius. */
  request?: NodeOrFastifyRequest;
  /** Set by Mercurius. */
  reply?: { request?: NodeOrFastifyRequest; header?: unknown };
  /** Set by Mercurius. */
  app?: { websocketServer?: { clients: Iterable<WebSocketClient> } };
  /** Set by Mercurius: the parameters of the connection. */
  _connectionInit?: unknown;
}

/**
 * An {@link ExpiringTokenException} in the form of GraphQL. Its body has no `statusCode`, because Apollo's driver recognizes
 * HTTP exceptions by this member, and replaces their codes with codes of its own.
 */
class GraphqlException extends HttpException {
  /** Becomes `extensions` of the error in the response. */
  readonly extensions: { code: ExpiringTokenErrorCode };

  constructor(cause: ExpiringTokenException) {
    const { message, code } = cause;
    super({ message, code }, cause.getStatus(), { cause });
    this.extensions = { code };
  }
}

/** Resolvers of Apollo and Mercurius: queries, mutations and subscriptions. */
export const graphqlTransport: Transport = {
  getRequest(context) {
    const graphqlContext = graphqlContextOf(context);
    return (
      requestOfGraphqlWs(graphqlContext.req ?? {}) ??
      requestOfGraphqlWs(graphqlContext) ??
      requestOfHttp(graphqlContext, isSubscription(context))
    );
  },

  getResponse(context) {
    const { reply, req } = graphqlContextOf(context);
    const response = typeof reply?.header === 'function' ? reply : req?.res;
    return (response as { headersSent?: boolean } | undefined)?.headersSent ? undefined : response;
  },

  toException: async (error) => (error instanceof ExpiringTokenException ? new GraphqlException(error) : error),
};

/** By the request that opened the connection, and its parameters. The application may give several connections one object. */
const handshakeFor = memoizeByPair<Handshake>();

/** By network socket. A client of Mercurius that sends new parameters gets a second handshake, but has the same connection. */
const connectionFor = memoizeByObject<Connection>();

/** What GraphQL passes to each resolver about its operation. */
interface ResolveInfo {
  fieldNodes?: unknown;
  operation?: { operation?: string };
}

/** `__resolveType` has four arguments too, but no `args`: the third one is the information about the operation. */
const isOfResolveType = (args: readonly unknown[]): boolean =>
  Boolean((args[2] as ResolveInfo | undefined)?.fieldNodes);

/** The context is the third of the four arguments of a resolver. A reference resolver has three, without `args`. */
function graphqlContextOf(context: ExecutionContext): GraphqlContext {
  const args = context.getArgs();
  return (args.length === 3 || isOfResolveType(args) ? args[1] : args[2]) ?? {};
}

/** Whether the operation is a subscription. The handler can be the resolver of any field in it. */
function isSubscription(context: ExecutionContext): boolean {
  const args = context.getArgs<(ResolveInfo | undefined)[]>();
  const info = isOfResolveType(args) ? args[2] : args.at(-1);
  return info?.operation?.operation === 'subscription';
}

function requestOfGraphqlWs({ extra, connectionParams }: GraphqlWsConnection): HttpRequest | undefined {
  if (!extra?.request) return undefined;
  return handshakeOf(extra.request, connectionParams, () => webSocketConnection(extra.socket, false));
}

/** Returns a handshake if the connection stays open: for a WebSocket, and for a subscription that is streamed over HTTP. */
function requestOfHttp(context: GraphqlContext, staysOpen: boolean): HttpRequest {
  const request = context.req ?? context.request ?? context.reply?.request;
  if (!request?.headers) {
    throw new Error(
      'ExpiringTokenGuard: there is no request in the GraphQL context. Return { req } from the option context.',
    );
  }
  const raw = request.raw ?? request;
  if (!raw.upgrade && !staysOpen) return request;
  const connectionParams = context['_connectionInit'] ?? context.connectionParams;
  const socket = raw.socket as Partial<NetSocket> | undefined;
  return handshakeOf(request, connectionParams, () => socket?.once && connectionOf(socket as NetSocket, context));
}

/** Mercurius lets a client send its parameters again. New parameters get a new handshake, because they may hold another token. */
function handshakeOf(
  request: NodeOrFastifyRequest,
  connectionParams: unknown,
  connect: () => Connection | undefined,
): Handshake {
  const upgrade = request.raw ?? request;
  const parameters = typeof connectionParams === 'object' && connectionParams !== null ? connectionParams : upgrade;
  return handshakeFor(upgrade, parameters, () => new Handshake(connect(), upgrade, connectionParams));
}

/** Mercurius shows a resolver neither its WebSocket nor a way to close it, but it shows the WebSockets of all clients. */
const connectionOf = (socket: NetSocket, { app }: GraphqlContext): Connection =>
  connectionFor(socket, () => {
    const client = [...(app?.websocketServer?.clients ?? [])].find((candidate) => netSocketOf(candidate) === socket);
    return client ? webSocketConnection(client, false) : netSocketConnection(socket);
  });
