import type { IncomingHttpHeaders } from 'node:http';
import { Opaque } from '../opaque.js';
import type { Connection } from '../sockets/connection.js';
import type { ExpiringTokenAuthInfo, HttpRequest } from './http-request.js';

/** What is read of the request that a connection began with. */
export interface Upgrade {
  headers: IncomingHttpHeaders;
  rawHeaders?: readonly string[];
  url?: string;
  socket?: { remoteAddress?: string };
}

/** What a client gives beside the headers, which a browser cannot set: `auth` of Socket.IO, `connectionParams` of GraphQL. */
export type Given = Readonly<Record<string, unknown>>;

/** Header lines of this name among what was given, in whichever case. */
const authorizationsIn = (given: Given): string[] =>
  Object.entries(given).flatMap(([name, value]) =>
    name.toLowerCase() === 'authorization' && typeof value === 'string' ? [value] : [],
  );

/** The request that a connection began with, and the connection, which stays open. Made once for each connection. */
@Opaque()
export class Handshake implements HttpRequest {
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly url?: string;
  readonly ip?: string;
  user?: unknown;
  authInfo?: ExpiringTokenAuthInfo;

  /**
   * @param authorizations - `Authorization` lines that came otherwise than in the headers
   * @param token - a token that was given by itself; undefined if none was
   */
  constructor(
    readonly connection: Connection,
    { headers, rawHeaders, url, socket }: Upgrade,
    authorizations: readonly string[] = [],
    readonly token?: unknown,
  ) {
    this.headers = { ...headers, authorization: headers.authorization ?? authorizations[0] };
    const sent =
      rawHeaders ??
      Object.entries(headers)
        .map(([name, value]) => [name, String(value)])
        .flat();
    this.rawHeaders = [...sent, ...authorizations.flatMap((value) => ['authorization', value])];
    this.url = url;
    this.ip = socket?.remoteAddress;
  }

  /** With what the client gave when it connected. */
  static of(connection: Connection, upgrade: Upgrade, given: unknown): Handshake {
    if (typeof given !== 'object' || given === null) return new Handshake(connection, upgrade);
    const { auth, token } = given as { auth?: { token?: unknown } | null; token?: unknown };
    return new Handshake(connection, upgrade, authorizationsIn(given as Given), token ?? auth?.token ?? undefined);
  }
}
