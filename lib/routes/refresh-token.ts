import { countHeaderLines, type HttpRequest, rejectRequest } from '../transports/http-request.js';
import { readRefreshTokenField } from './request-body.js';

/**
 * The refresh token of a request: from the header, or from the body's field `refreshToken`.
 *
 * @param header - its name in lower case
 * @returns null when there is none
 * @throws ExpiringTokenException `request_invalid` for two tokens, of which nobody can say which one is meant
 */
export function readRefreshToken(request: HttpRequest, header: string): string | null {
  const lines = countHeaderLines(request, header);
  if (lines > 1) rejectRequest('More than one refresh token header');
  const inBody = readRefreshTokenField(request);
  if (lines === 0) return inBody;
  if (inBody !== null) rejectRequest('Refresh token in the header and in the body');
  return String(request.headers[header] ?? '');
}
