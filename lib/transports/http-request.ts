import type { IncomingHttpHeaders } from 'node:http';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import type { Token } from '../tokens/token.entity.js';

/** What the guard and the Passport strategy put at `request.authInfo`. */
export interface ExpiringTokenAuthInfo {
  /** The row of the token in use. */
  token: Token;
}

/** What Express and Fastify requests have in common, and this package reads. */
export interface HttpRequest {
  /** As Node has them: names in lower case. */
  headers: IncomingHttpHeaders;
  /** The client's address, as the framework knows it: its own settings say which proxies to trust. */
  ip?: string;
  /** As the client sent it, without what a router cut off. */
  originalUrl?: string;
  /** What is left of it where a router cut something off. */
  url?: string;
  /** Express: the names and values of all header lines, in turn. Node drops repeated ones from `headers`. */
  rawHeaders?: readonly string[];
  /** Fastify: Node's own request. */
  raw?: {
    /** As above. */
    rawHeaders?: readonly string[];
  };
  /** As the framework parsed it. */
  body?: unknown;
  /** The user that the guard let in; null where it let in a request without a token. */
  user?: unknown;
  /** What the guard knows of the token. */
  authInfo?: ExpiringTokenAuthInfo;
}

/** A request that the guard has let pass with a token. */
export type AuthenticatedRequest = HttpRequest & { authInfo: ExpiringTokenAuthInfo };

/** The row of the token in use. Read from the request, because a parameter decorator's value passes the application's pipes. */
export const tokenOf = ({ authInfo }: AuthenticatedRequest): Token => authInfo.token;

/** Refuses a request that presents tokens as it must not (RFC 6750 §3.1). */
export function rejectRequest(message: string): never {
  throw new ExpiringTokenException('request_invalid', { message });
}

/** How many lines a client sent of a header, given in lower case. */
export function countHeaderLines(request: HttpRequest, name: string): number {
  const raw = request.raw?.rawHeaders ?? request.rawHeaders ?? [];
  let lines = 0;
  // On each request: names of another length are not looked at.
  for (let index = 0; index < raw.length; index += 2) {
    const given = raw[index]!;
    if (given.length === name.length && given.toLowerCase() === name) lines++;
  }
  return lines;
}

/** The media type of the body, in lower case and without parameters; empty if none is given. */
export const mediaType = (request: HttpRequest): string =>
  (request.headers['content-type'] ?? '').split(';', 1)[0]!.trim().toLowerCase();

/**
 * A header that a client fills with text. Node reads its bytes as Latin-1; they are meant as UTF-8.
 *
 * @returns undefined if the header is not there, or not UTF-8
 */
export function utf8Header(request: HttpRequest, name: string): string | undefined {
  const value = request.headers[name];
  if (typeof value !== 'string') return undefined;
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(value, 'latin1'));
  } catch {
    return undefined;
  }
}
