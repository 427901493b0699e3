import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { rulesOf } from '../tokens/token-purpose.js';
import { hasScope } from '../tokens/token-scopes.js';
import type { Token } from '../tokens/token.entity.js';
import type { HandlerRequirements } from './handler-requirements.js';

/**
 * Checks that a valid token may call a handler.
 *
 * @param token - undefined if the request has none, and needs none
 * @throws ExpiringTokenException `login_required`; `scope_insufficient`; `token_missing` for a handler that asks for scopes
 */
export function assertPermitted(token: Token | undefined, { requiresLogin, scopes }: HandlerRequirements): void {
  if (token && requiresLogin && rulesOf(token.purpose)?.isPersonal) throw new ExpiringTokenException('login_required');
  if (scopes.length === 0) return;
  if (!token) throw new ExpiringTokenException('token_missing');
  if (scopes.every((alternatives) => alternatives.some((scope) => hasScope(token, scope)))) return;
  throw new ExpiringTokenException('scope_insufficient', { scopes: [...new Set(scopes.flat())] });
}
