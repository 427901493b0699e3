import type { ResolvedOptions } from '../options/resolve-options.js';
import { type HttpRequest, rejectRequest } from '../transports/http-request.js';

/**
 * Refuses a refresh token that comes along where it does not belong: a client that sends the longer-lived secret with every
 * request gives it away to whatever sees one.
 *
 * @throws ExpiringTokenException `request_invalid`
 */
export function rejectRefreshToken(request: HttpRequest, { refresh }: ResolvedOptions): void {
  if (refresh && request.headers[refresh.header] !== undefined)
    rejectRequest('Refresh token sent to another route than refresh');
}
