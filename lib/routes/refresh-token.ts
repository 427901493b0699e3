import { countHeaderLines, type HttpRequest, rejectRequest } from '../transports/http-request.js';
import { readRefreshTokenField } from './request-body.js';

/**
 * Reads the refresh token of a request, from the header or from the body's field `refreshToken`.
 *
 * @param header - the name of the header in lower case
 * @returns null if the request has none
 * @throws ExpiringTokenException `request_invalid` for two tokens: it is not known which of them the client means
 */
export function readRefreshToken(request: HttpRequest, header: string): string | null {
  const headerLines = countHeaderLines(request, header);
  if (headerLines > 1) rejectRequest('More than one refresh token header');
  const fromBody = readRefreshTokenField(request);
  if (headerLines === 0) return fromBody;
  if (fromBody !== null) rejectRequest('Refresh token in the header and in the body');
  return String(request.headers[header] ?? '');
}
