import type { IncomingHttpHeaders } from 'node:http';
import { HideFromInspect } from '../errors/hide-from-inspect.decorator.js';
import type { Connection } from './connection.js';
import type { ExpiringTokenAuthInfo, HttpRequest } from './http-request.js';

/** The parts of the HTTP request that opened a connection which are read here. */
export interface UpgradeRequest {
  headers: IncomingHttpHeaders;
  rawHeaders?: readonly string[];
  url?: string;
  socket?: { remoteAddress?: string };
}

/**
 * What a client sends beside the headers, because a browser cannot set headers for a WebSocket: `auth` of Socket.IO,
 * `connectionParams` of GraphQL. Each member may hold a token, and so may a member `Authorization`, in upper or lower case.
 */
interface ConnectionParams {
  token?: unknown;
  auth?: { token?: unknown } | null;
  /** Some clients of Mercurius put their `Authorization` here. */
  headers?: object | null;
}

const AUTHORIZATION = 'authorization';

/** Returns the values of all members named `Authorization`, in upper or lower case. Values that are not strings are ignored. */
const authorizationsIn = (headers: object): string[] =>
  Object.entries(headers).flatMap(([name, value]: [string, unknown]) =>
    name.toLowerCase() === AUTHORIZATION && typeof value === 'string' ? [value] : [],
  );

/**
 * The request that opened a connection, together with the connection. It is authenticated like an HTTP request, for each
 * message and each subscription of the connection.
 */
@HideFromInspect()
export class Handshake implements HttpRequest {
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly url?: string;
  readonly ip?: string;
  /** The token that the client sent outside of the headers, of any type; undefined if it sent none. */
  readonly token?: unknown;
  user?: unknown;
  authInfo?: ExpiringTokenAuthInfo;

  /**
   * @param connection - undefined if nothing in the context shows the connection
   * @param connectionParams - what the client sent beside the headers when it connected
   */
  constructor(
    readonly connection: Connection | undefined,
    { headers, rawHeaders, url, socket }: UpgradeRequest,
    connectionParams: unknown,
  ) {
    const params: ConnectionParams = typeof connectionParams === 'object' ? { ...connectionParams } : {};
    const { token, auth, headers: nestedHeaders, ...topLevel } = params;
    // Mercurius copies the first parameters of a client into `headers`. Later parameters may hold the token of another user,
    // which must not be mixed with the first one. Only `rawHeaders` shows what the HTTP request itself contained.
    const sentLines = rawHeaders?.filter(
      (_, index) => rawHeaders[index - (index % 2)]!.toLowerCase() === AUTHORIZATION,
    );
    const requestLines = sentLines ?? authorizationsIn(headers).flatMap((value) => [AUTHORIZATION, value]);
    const paramValues = [...authorizationsIn(topLevel), ...authorizationsIn(nestedHeaders ?? {})];
    this.rawHeaders = [...requestLines, ...paramValues.flatMap((value) => [AUTHORIZATION, value])];
    this.headers = { ...headers, [AUTHORIZATION]: this.rawHeaders[1] };
    this.token = token ?? auth?.token ?? undefined;
    this.url = url;
    this.ip = socket?.remoteAddress;
  }
}

/**
 * Whether the request ends with its response, so that one authentication is enough for all handlers that serve it. A
 * connection is authenticated again for each message, because its token may have ended since the last one. So is an object
 * of the application that only looks like a request, because it may stand for a connection.
 */
export const endsWithResponse = (request: HttpRequest): boolean =>
  !(request instanceof Handshake) && (request.rawHeaders ?? request.raw) !== undefined;
