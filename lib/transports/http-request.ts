import type { IncomingHttpHeaders } from 'node:http';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import type { Token } from '../tokens/token.entity.js';

/** What the guard and the Passport strategy set as `request.authInfo`. */
export interface ExpiringTokenAuthInfo {
  /** The row of the token in use. */
  token: Token;
}

/** The members of a request that this package reads. Requests of Express and Fastify have them. */
export interface HttpRequest {
  /** As Node parses them: names are in lower case. */
  headers: IncomingHttpHeaders;
  /** The client's address, as the framework determines it: its settings list the proxies that it trusts. */
  ip?: string;
  /** The URL that the client sent, including the part that a router removes from `url`. */
  originalUrl?: string;
  /** The URL without the part that a router removed. */
  url?: string;
  /** Express: the names and values of all header lines, alternately. Node drops repeated lines from `headers`. */
  rawHeaders?: readonly string[];
  /** Fastify: the request of Node. */
  raw?: {
    /** The names and values of all header lines, alternately. */
    rawHeaders?: readonly string[];
  };
  /** The body, as the framework parsed it. */
  body?: unknown;
  /** The authenticated user; null if the guard accepted a request without a token. */
  user?: unknown;
  /** The token that the request was authenticated with. */
  authInfo?: ExpiringTokenAuthInfo;
}

/** A request that the guard accepted with a token. */
export type AuthenticatedRequest = HttpRequest & { authInfo: ExpiringTokenAuthInfo };

/**
 * Returns the row of the token in use. Routes of this package read it from the request, because the pipes of the application
 * could change the value of a parameter decorator.
 */
export const tokenOf = ({ authInfo }: AuthenticatedRequest): Token => authInfo.token;

/**
 * Rejects a request that presents a token in a way that is not allowed (RFC 6750 §3.1, `invalid_request`).
 *
 * @throws ExpiringTokenException `request_invalid`
 */
export function rejectRequest(message: string): never {
  throw new ExpiringTokenException('request_invalid', { message });
}

/** Returns how many lines of a header the client sent. The name is in lower case. */
export function countHeaderLines(request: HttpRequest, name: string): number {
  const raw = request.raw?.rawHeaders ?? request.rawHeaders ?? [];
  let lines = 0;
  // This runs for each request, so names of another length are not converted to lower case.
  for (let index = 0; index < raw.length; index += 2) {
    const rawName = raw[index]!;
    if (rawName.length === name.length && rawName.toLowerCase() === name) lines++;
  }
  return lines;
}

/** Returns the media type of the body, in lower case and without parameters; an empty string if the request names none. */
export const mediaType = (request: HttpRequest): string =>
  (request.headers['content-type'] ?? '').split(';', 1)[0]!.trim().toLowerCase();

/**
 * Returns a header that contains text of the user. Node decodes headers as Latin-1, but clients send such text as UTF-8.
 *
 * @returns undefined if the request does not have the header, or if its bytes are not UTF-8
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
