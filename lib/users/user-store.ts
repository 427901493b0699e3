import type { Row } from '../database/database.js';
import type { Join } from '../database/dialect.js';

/** What a client sends to log in. */
export interface Credentials {
  /** Exactly as sent. */
  username: string;
  /** Exactly as sent. */
  password: string;
}

/**
 * Where the users are. The package has one over its own `User`; `typeOrmUsers` makes one over an application's entity;
 * anything else, a directory server say, is a class of the application that implements this.
 *
 * What a method throws is answered 503, unless it is an `HttpException`. `findById` is waited for as long as the option
 * `timeout` says, `validateCredentials` without limit, because hashing is no fault: give what it asks a limit of its own.
 */
export interface UserStore<User = unknown> {
  /** The user of this id, as {@link UserStore.getId} gives it; null if there is none. What is no object is no user. */
  findById(id: string): Promise<User | null>;

  /**
   * The users of these ids, in any order; those that there are not are left out. With this method the users of all
   * requests that arrive together are asked for at once, and those of one user may share the object.
   */
  findByIds?(ids: readonly string[]): Promise<User[]>;

  /**
   * The user of this name, compared exactly; null if there is none. With this method the command line finds a user by name as
   * well as by id; nothing else calls it.
   */
  findByUsername?(username: string): Promise<User | null>;

  /**
   * The user of this name if the password is right, else null. Names and passwords are compared exactly as sent. It should
   * take as long for an unknown name as for a wrong password: compute one password hash either way.
   */
  validateCredentials(credentials: Credentials): Promise<User | null>;

  /** What the tokens of a user are stored under: at most 255 characters, the same as long as the user exists. */
  getId(user: User): string;

  /**
   * Whether the user may log in and use tokens, asked on each request. Without this method all may; with it only those of
   * whom it says `true`. It cannot be asynchronous: a promise is not `true`.
   */
  isActive?(user: User): boolean;
}

/** Where a store of this package tells how its users are selected together with their tokens. */
export const USER_JOIN = Symbol('expiring-token:user-join');

/** How users are selected together with their tokens. */
export interface UserJoin<User = unknown> extends Join {
  /** The user of a row, which is that of this id; null if there is none. */
  read(row: Row, id: string): User | null;
}

/** A store whose users are where the tokens are. */
export interface JoinableUserStore<User = unknown> extends UserStore<User> {
  /**
   * @param userId - the column of a token that holds its user's id
   * @returns null where the users have to be asked for otherwise
   */
  [USER_JOIN](userId: string): UserJoin<User> | null;
}

/** Whether there is such a user, and the store lets it in. What a store leaves open, such as a flag that was not loaded, is a no. */
export function isActiveUser<User>(store: UserStore<User>, user: User | null | undefined): user is User {
  if (typeof user !== 'object' || user === null) return false;
  const active: unknown = store.isActive ? store.isActive(user) : true;
  return active === true;
}
