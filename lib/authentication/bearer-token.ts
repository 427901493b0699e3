import { Handshake } from '../transports/handshake.js';
import { countHeaderLines, type HttpRequest, mediaType, rejectRequest } from '../transports/http-request.js';

/**
 * Returns the token of a request. It is read from the `Authorization` header only (RFC 6750 §2.1). When a client opens a
 * connection it can also send the token alone, as `auth.token`, because a browser cannot set that header there.
 *
 * @param schemes - the accepted schemes, compared without regard to case (RFC 9110 §11.1)
 * @returns the text after the scheme, which may be empty; null if there is no such header, or if it has another scheme
 * @throws ExpiringTokenException `request_invalid` if the request contains two tokens (RFC 6750 §2): it is not clear which one
 * the client means, and an attacker may have added one of them
 */
export function readBearerToken(request: HttpRequest, schemes: readonly string[]): string | null {
  if (countHeaderLines(request, 'authorization') > 1) rejectRequest('More than one Authorization header');
  const [scheme, credentials] = splitAuthorization(request.headers.authorization ?? '');
  const handshakeToken = request instanceof Handshake ? request.token : undefined;
  if (!schemes.some((accepted) => accepted.toLowerCase() === scheme)) {
    if (handshakeToken === undefined) return null;
    // A value that is not a string is an invalid token. An empty string is one too.
    return typeof handshakeToken === 'string' ? handshakeToken : '';
  }
  if (handshakeToken !== undefined) rejectRequest('Token in the Authorization header and in auth.token');
  if (hasTokenInQuery(request)) rejectRequest('Token in the Authorization header and in the query');
  if (hasTokenInForm(request)) rejectRequest('Token in the Authorization header and in the form');
  return credentials;
}

/** RFC 9110 §11.4: the scheme in lower case, one or more spaces, and the credentials. */
function splitAuthorization(value: string): [scheme: string, credentials: string] {
  const space = value.indexOf(' ');
  if (space < 0) return [value.toLowerCase(), ''];
  return [value.slice(0, space).toLowerCase(), value.slice(space).replace(/^ +/, '')];
}

/** RFC 6750 §2.3: the query parameter `access_token`, in any URL encoding. */
function hasTokenInQuery(request: HttpRequest): boolean {
  const url = request.originalUrl ?? request.url ?? '';
  const query = url.indexOf('?');
  return query >= 0 && new URLSearchParams(url.slice(query)).has('access_token');
}

/** RFC 6750 §2.2: the form field `access_token`. A JSON member of this name belongs to the application. */
function hasTokenInForm(request: HttpRequest): boolean {
  const { body } = request;
  return (
    typeof body === 'object' &&
    body !== null &&
    Object.hasOwn(body, 'access_token') &&
    mediaType(request) === 'application/x-www-form-urlencoded'
  );
}
