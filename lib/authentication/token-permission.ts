import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { rulesOf } from '../tokens/token-purpose.js';
import { hasScope } from '../tokens/token-scopes.js';
import type { Token } from '../tokens/token.entity.js';
import type { HandlerRequirements } from './handler-requirements.js';

/** What has a token: an authentication, or the auth info of a request. */
export type TokenHolder = { readonly token: Token };

/**
 * Checks that a valid token may call a handler.
 *
 * @param holder - of the token, which is read only if the handler asks for something; undefined if the request has no token,
 * and needs none
 * @throws ExpiringTokenException `login_required`; `scope_insufficient`; `token_missing` for a handler that asks for scopes
 */
export function assertPermitted(holder: TokenHolder | undefined, { requiresLogin, scopes }: HandlerRequirements): void {
  if (holder && requiresLogin && rulesOf(holder.token.purpose)?.isPersonal)
    throw new ExpiringTokenException('login_required');
  if (scopes.length === 0) return;
  if (!holder) throw new ExpiringTokenException('token_missing');
  const { token } = holder;
  if (scopes.every((alternatives) => alternatives.some((scope) => hasScope(token, scope)))) return;
  throw new ExpiringTokenException('scope_insufficient', { scopes: [...new Set(scopes.flat())] });
}
