import type { IncomingHttpHeaders } from 'node:http';
import { HideFromInspect } from '../errors/hide-from-inspect.decorator.js';
import type { Connection } from './connection.js';
import type { ExpiringTokenAuthInfo, HttpRequest } from './http-request.js';

/** What is read of the request that a connection began with. */
export interface Upgrade {
  headers: IncomingHttpHeaders;
  rawHeaders?: readonly string[];
  url?: string;
  socket?: { remoteAddress?: string };
}

/** What a client gives beside the headers, which a browser cannot set: `auth` of Socket.IO, `connectionParams` of GraphQL. */
interface ConnectionParams {
  /** The token alone, */
  token?: unknown;
  /** also here. */
  auth?: { token?: unknown } | null;
  /** Where some clients of Mercurius have their `Authorization`. Others have it here itself. */
  headers?: object | null;
}

const NAME = 'authorization';

/** The `Authorization` lines among headers, in whichever case. Whatever is no text is none. */
const authorizationsIn = (headers: object): string[] =>
  Object.entries(headers).flatMap(([name, value]: [string, unknown]) =>
    name.toLowerCase() === NAME && typeof value === 'string' ? [value] : [],
  );

/** The request that a connection began with, and the connection, which stays open; undefined where nothing shows it. */
@HideFromInspect()
export class Handshake implements HttpRequest {
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly url?: string;
  readonly ip?: string;
  /** One that was given by itself; undefined if none was. */
  readonly token?: unknown;
  user?: unknown;
  authInfo?: ExpiringTokenAuthInfo;

  /** @param given - what the client gave when it connected */
  constructor(
    readonly connection: Connection | undefined,
    { headers, rawHeaders, url, socket }: Upgrade,
    given: unknown,
  ) {
    const { token, auth, headers: more, ...rest }: ConnectionParams = typeof given === 'object' ? { ...given } : {};
    // Mercurius adds to the headers what its client gave first, and somebody else's token may be given after that: what was
    // sent with the request is among the lines alone.
    const sent = rawHeaders?.filter((_, index) => rawHeaders[index - (index % 2)]!.toLowerCase() === NAME);
    const added = [...authorizationsIn(rest), ...authorizationsIn(more ?? {})];
    const lines = sent ?? authorizationsIn(headers).flatMap((value) => [NAME, value]);
    this.rawHeaders = [...lines, ...added.flatMap((value) => [NAME, value])];
    this.headers = { ...headers, [NAME]: this.rawHeaders[1] };
    this.token = token ?? auth?.token ?? undefined;
    this.url = url;
    this.ip = socket?.remoteAddress;
  }
}
