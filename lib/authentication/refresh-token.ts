import type { ResolvedOptions } from '../options/resolve-options.js';
import { countHeaderLines, type HttpRequest, refuseRequest } from '../transports/http-request.js';
import { readRefreshTokenField } from '../routes/request-body.js';

/**
 * The refresh token of a request: from the header, or from the body's field `refreshToken`.
 *
 * @param header - its name in lower case
 * @returns null when there is none
 * @throws ExpiringTokenException `request_invalid` for two tokens, of which nobody can say which one is meant
 */
export function readRefreshToken(request: HttpRequest, header: string): string | null {
  const lines = countHeaderLines(request, header);
  if (lines > 1) refuseRequest('More than one refresh token header');
  const inBody = readRefreshTokenField(request);
  if (lines === 0) return inBody;
  if (inBody !== null) refuseRequest('Refresh token in the header and in the body');
  return String(request.headers[header] ?? '');
}

/**
 * Refuses a refresh token that comes along where it does not belong: a client that sends the longer-lived secret with every
 * request gives it away to whatever sees one.
 *
 * @throws ExpiringTokenException `request_invalid`
 */
export function refuseRefreshToken(request: HttpRequest, { refresh }: ResolvedOptions): void {
  if (refresh && request.headers[refresh.header] !== undefined)
    refuseRequest('Refresh token sent to another route than refresh');
}
