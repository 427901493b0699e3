import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { rulesOf } from '../tokens/token-purpose.js';
import type { Token } from '../tokens/token.entity.js';
import type { HandlerRequirements } from './handler-requirements.js';

/**
 * Checks that a valid token may call a handler.
 *
 * @param token - undefined if the request has none, and needs none
 * @throws ExpiringTokenException `login_required`
 */
export function assertPermitted(token: Token | undefined, { requiresLogin }: HandlerRequirements): void {
  if (token && requiresLogin && rulesOf(token.purpose)?.isPersonal) throw new ExpiringTokenException('login_required');
}
