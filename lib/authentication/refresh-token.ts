import type { ResolvedOptions } from '../options/resolve-options.js';
import { type HttpRequest, rejectRequest } from '../transports/http-request.js';

/**
 * Rejects a request that contains a refresh token on a route other than refresh. A client that sends this long-lived secret
 * with every request exposes it to every server, proxy and log that sees one of them.
 *
 * @throws ExpiringTokenException `request_invalid`
 */
export function rejectRefreshToken(request: HttpRequest, { refresh }: ResolvedOptions): void {
  if (refresh && request.headers[refresh.header] !== undefined)
    rejectRequest('Refresh token sent to another route than refresh');
}
