import type { Token } from './token.entity.js';

/** What a token may do: null everything that its user may do. */
type Scopes = Token['scopes'];

/**
 * Whether a token has a scope. A token without a list of scopes may do everything that its user may do, and has them all.
 *
 * The scope narrows the token and does not grant anything: check in addition what the user may do.
 *
 * @example
 * ```ts
 * @Get('notes')
 * list(@CurrentUser() user: User, @CurrentToken() token: Token) {
 *   return this.notes.of(user.id, { withDrafts: hasScope(token, 'drafts:read') });
 * }
 * ```
 */
export const hasScope = (token: Pick<Token, 'scopes'>, scope: string): boolean => includes(token.scopes, scope);

/** Whether everything that a token with the first scopes may do is allowed by the second ones. */
export const isWithin = (scopes: Scopes, limit: Scopes): boolean =>
  limit === null || (Array.isArray(scopes) && scopes.every((scope) => includes(limit, scope)));

/** A list that is no list, as a subclass with a column of its own of this name may have it, allows nothing. */
const includes = (scopes: Scopes, scope: string): boolean =>
  scopes === null || (Array.isArray(scopes) && scopes.includes(scope));
