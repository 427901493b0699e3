import type { UserStore } from '../users/user-store.js';

/** What a user can be given by. */
export const USER_KEYS = ['id', 'username'] as const;
export type UserKey = (typeof USER_KEYS)[number];

/**
 * The user that a person names.
 *
 * @param given - an id or a user name
 * @param by - which of both it is; left out, whichever finds one
 * @throws Error where there is none, or two
 */
export async function findUser<User>(users: UserStore<User>, given: string, by?: UserKey): Promise<User> {
  if (by === 'username' && !users.findByUsername) {
    throw new Error('The user store has no findByUsername: give the id of the user');
  }
  const byId = by === 'username' ? null : await users.findById(given);
  const byName = by === 'id' ? null : ((await users.findByUsername?.(given)) ?? null);
  if (byId !== null && byName !== null && users.getId(byId) !== users.getId(byName)) {
    throw new Error(`${given} is the id of one user and the name of another: say --by id or --by username`);
  }
  const user = byId ?? byName;
  if (user === null) throw new Error(`There is no user ${given}`);
  return user;
}
