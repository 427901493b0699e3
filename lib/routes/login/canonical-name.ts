import type { UserStore } from '../../users/user-store.js';

/** How the login throttle counts a user name. */
export interface CountedName {
  /** The name whose failures are counted together. */
  canonical: string;
  /**
   * The name whose failures a success clears: the canonical one if the store defines it, else the name as sent. A store may
   * have two users `Ann` and `ann`: the success of one must not clear the guesses at the password of the other.
   */
  cleared: string;
}

/**
 * How the login throttle counts a user name, by {@link UserStore.canonicalName} or its default.
 *
 * @throws TypeError if the store's method returns no string, and what it throws
 */
export function countedNameOf(users: Pick<UserStore, 'canonicalName'>, username: string): CountedName {
  if (!users.canonicalName) return { canonical: username.normalize('NFKC').trim().toLowerCase(), cleared: username };
  const canonical: unknown = users.canonicalName(username);
  if (typeof canonical !== 'string') throw new TypeError('UserStore.canonicalName must return a string');
  return { canonical, cleared: canonical };
}
