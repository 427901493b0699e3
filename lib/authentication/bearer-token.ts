import { Handshake } from '../transports/handshake.js';
import { countHeaderLines, type HttpRequest, mediaType, rejectRequest } from '../transports/http-request.js';

/** RFC 6750 §2.3: the query parameter of this name, however it is encoded. */
function hasTokenInQuery(request: HttpRequest): boolean {
  const url = request.originalUrl ?? request.url ?? '';
  const query = url.indexOf('?');
  return query >= 0 && new URLSearchParams(url.slice(query)).has('access_token');
}

/** RFC 6750 §2.2: a form's field of this name. In JSON it is the application's data. */
function hasTokenInForm(request: HttpRequest): boolean {
  const { body } = request;
  return (
    typeof body === 'object' &&
    body !== null &&
    Object.hasOwn(body, 'access_token') &&
    mediaType(request) === 'application/x-www-form-urlencoded'
  );
}

/**
 * The token of a request: from the `Authorization` header alone (RFC 6750 §2.1). A client that opens a connection can also
 * give it by itself, because a browser sets no such header there.
 *
 * @param schemes - accepted schemes, compared without regard to case (RFC 9110 §11.1)
 * @returns whatever follows the scheme, which may be empty; null when there is no such header, or one of another scheme
 * @throws ExpiringTokenException `request_invalid` for two tokens, of which nobody can say which one is meant (RFC 6750 §2)
 */
export function readBearerToken(request: HttpRequest, schemes: readonly string[]): string | null {
  if (countHeaderLines(request, 'authorization') > 1) rejectRequest('More than one Authorization header');
  const [scheme, token] = splitCredentials(request.headers.authorization ?? '');
  const given = request instanceof Handshake ? request.token : undefined;
  if (!schemes.some((accepted) => accepted.toLowerCase() === scheme)) {
    // Whatever is no text is no token either.
    return given === undefined ? null : typeof given === 'string' ? given : '';
  }
  if (given !== undefined) rejectRequest('Token in the Authorization header and in auth.token');
  if (hasTokenInQuery(request)) rejectRequest('Token in the Authorization header and in the query');
  if (hasTokenInForm(request)) rejectRequest('Token in the Authorization header and in the form');
  return token;
}

/** RFC 9110 §11.4: the scheme, one or more spaces, and the rest. */
function splitCredentials(value: string): [scheme: string, rest: string] {
  const space = value.indexOf(' ');
  if (space < 0) return [value.toLowerCase(), ''];
  return [value.slice(0, space).toLowerCase(), value.slice(space).replace(/^ +/, '')];
}
