import type { UserStore } from '../users/user-store.js';

/** The ways to identify a user. */
export const USER_KEYS = ['id', 'username'] as const;
export type UserKey = (typeof USER_KEYS)[number];

/**
 * Finds the user of a command.
 *
 * @param idOrName - an id or a user name
 * @param by - which of the two it is; if undefined, both are tried
 * @throws Error if no user is found, or two are
 */
export async function findUser<User>(users: UserStore<User>, idOrName: string, by?: UserKey): Promise<User> {
  if (by === 'username' && !users.findByUsername) {
    throw new Error('The user store has no findByUsername: give the id of the user');
  }
  const byId = by === 'username' ? null : await users.findById(idOrName);
  const byName = by === 'id' ? null : ((await users.findByUsername?.(idOrName)) ?? null);
  if (byId !== null && byName !== null && users.getId(byId) !== users.getId(byName)) {
    throw new Error(`${idOrName} is the id of one user and the name of another: use --by id or --by username`);
  }
  const user = byId ?? byName;
  if (user === null) throw new Error(`There is no user ${idOrName}`);
  return user;
}
