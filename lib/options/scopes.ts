import { rejectOption } from './option-checks.js';

/** RFC 6749 §3.3: one scope, a `scope-token`. It contains no space, which separates scopes, and none of `"` and `\`. */
const SCOPE_TOKEN = /^[\x21\x23-\x5b\x5d-\x7e]+$/;

/** Maximum length of the scopes of a token with a space between two of them: the length of its column. */
export const MAX_SCOPES_LENGTH = 1000;

/** Whether a value is one scope. */
export const isScopeToken = (value: unknown): value is string => typeof value === 'string' && SCOPE_TOKEN.test(value);

/** Checks the option `scopes`. Null means that there is no catalogue. */
export function parseCatalogue(value: unknown): readonly string[] | null {
  if (value === undefined) return null;
  const remedy =
    "Give a list of different names, such as ['notes:read', 'notes:write'], of printable ASCII without spaces, \" and \\.";
  if (!Array.isArray(value)) return rejectOption('scopes', value, remedy);
  const names: unknown[] = value;
  const isName = (name: unknown) => isScopeToken(name) && name.length <= MAX_SCOPES_LENGTH;
  const wrong = names.findIndex((name, index) => !isName(name) || names.indexOf(name) !== index);
  return wrong === -1 ? Object.freeze([...(names as string[])]) : rejectOption('scopes', names[wrong], remedy);
}

/**
 * Checks the scopes of a new token. The result has no duplicates.
 *
 * @param value - null or undefined: the token may do everything that its user may do
 * @param catalogue - the option `scopes`; null: every scope is known
 * @throws ExpiringTokenOptionsError if the value is not a list of known scopes, or if they are longer than 1,000 characters
 */
export function parseScopes(value: unknown, catalogue: readonly string[] | null): string[] | null {
  if (value === undefined || value === null) return null;
  const known = catalogue ? `names of the option scopes: ${catalogue.join(', ')}` : "scopes, such as ['notes:read']";
  const remedy = `Give a list of ${known}; or null for everything.`;
  if (!Array.isArray(value)) return rejectOption('scopes', value, remedy);
  const names = [...new Set<unknown>(value)];
  const isKnown = (name: unknown) => isScopeToken(name) && (!catalogue || catalogue.includes(name));
  const wrong = names.findIndex((name) => !isKnown(name));
  if (wrong !== -1) return rejectOption('scopes', names[wrong], remedy);
  const scopes = names as string[];
  return scopes.join(' ').length <= MAX_SCOPES_LENGTH
    ? scopes
    : rejectOption('scopes', scopes, `Give at most ${MAX_SCOPES_LENGTH} characters, with a space between two scopes.`);
}
