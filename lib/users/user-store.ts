import type { Row, TransactionScript } from '../database/database.js';
import type { Join } from '../database/dialect.js';

/** What a client sends to log in. */
export interface Credentials {
  /** Exactly as sent. */
  username: string;
  /** Exactly as sent. */
  password: string;
}

/**
 * Access to the users of the application. The package has a store over its own `User`, and `typeOrmUsers` creates one over the
 * application's entity. For any other source, for example a directory server, the application implements this interface.
 *
 * An error that a method throws is answered 503, unless it is an `HttpException`. `findById` is limited by the option
 * `timeout`. `validateCredentials` has no time limit, since hashing takes long under load: set a time limit for each request
 * that it sends to another server.
 */
export interface UserStore<User = unknown> {
  /**
   * Returns the user with this id, as {@link UserStore.getId} returns it, or null. A value that is not an object counts as no
   * user.
   */
  findById(id: string): Promise<User | null>;

  /**
   * Returns the users with these ids, in any order, without those that do not exist. If a store has this method, the users of
   * simultaneous requests are loaded with one call, and requests of the same user may share one object.
   */
  findByIds?(ids: readonly string[]): Promise<User[]>;

  /**
   * Returns the user with exactly this name, or null. Only the command line calls it, to find a user by name.
   */
  findByUsername?(username: string): Promise<User | null>;

  /**
   * Returns the user with this name if the password is right, otherwise null. Name and password are compared exactly as sent.
   *
   * Compute one password hash in either case: if an unknown name is answered faster than a wrong password, the response time
   * reveals which users exist.
   */
  validateCredentials(credentials: Credentials): Promise<User | null>;

  /**
   * Returns the name that the rate limit of failed logins counts, so that all spellings which `validateCredentials` takes for one
   * user have one limit. A store that treats more spellings as equal than the default does needs this method, for example over
   * a column whose collation ignores accents. By default the name is normalized (NFKC), trimmed and in lower case. An error, or
   * a result that is not a string, is answered 503.
   */
  canonicalName?(username: string): string;

  /**
   * Returns the id under which the tokens of a user are stored: 1 to 255 characters, never changing, and never reused for
   * another user.
   */
  getId(user: User): string;

  /**
   * Returns whether the user may log in and use tokens. It is called on each request. A user is active only if the
   * result is `true`, so the method cannot be asynchronous: a promise is not `true`. Without this method every user is active.
   */
  isActive?(user: User): boolean;

  /**
   * Returns whether a user may still log in with the credentials that {@link UserStore.validateCredentials} accepted a moment
   * ago: the password was not changed, and the user was not deactivated or deleted. If it returns false, the login is answered
   * as one with wrong credentials.
   *
   * Implement it if passwords change in your application. Otherwise a login with the old password that runs during the change
   * could get a token after `revokeAll`. Change the password first, and call `revokeAll` afterwards. This method is called
   * before the token is inserted, while no other change of the user's tokens runs in this process, and again before the token
   * is returned. Read the current state, not a cache, and compute no password hash: remember in `validateCredentials` what
   * it compared with.
   *
   * The stores of this package need no such method: they compare the hash in the transaction that inserts the token.
   */
  isStillValid?(user: User, credentials: Credentials): Promise<boolean>;
}

/** Name of the property with the checks that a store of this package makes when a token is issued. */
export const CREDENTIAL_CHECKS = Symbol('expiring-token:credential-checks');

/**
 * What became of a user since `validateCredentials` or `findById` returned it. `changed`: the stored hash is not the one that
 * was verified; it may be another hash of the same password.
 */
export type VerifiedState = 'valid' | 'changed' | 'inactive';

/** Checks whether what a store verified still holds when a token is issued. */
export interface CredentialChecks<User = unknown> {
  /**
   * Returns the hash that `validateCredentials` accepted. It is undefined if that is not known, because a subclass passed on
   * other credentials or returned another user.
   */
  verifiedHash(user: User, credentials: Credentials): unknown;

  /** Returns the hash that a user has now; null for none. */
  currentHash(user: User): Promise<unknown>;

  /**
   * Checks a user again, in the transaction that issues the token.
   *
   * @param hash - that was verified; undefined if no password was verified
   */
  verifyAgain(user: User, hash: unknown): TransactionScript<VerifiedState>;
}

/** A store whose users are in the same database as the tokens, so that it can check them in a transaction of this package. */
export interface TransactionalUserStore<User = unknown> extends UserStore<User> {
  readonly [CREDENTIAL_CHECKS]: CredentialChecks<User>;
}

/** Name of the method by which a store of this package describes how to select users together with their tokens. */
export const USER_JOIN = Symbol('expiring-token:user-join');

/** A join that selects users together with their tokens. */
export interface UserJoin<User = unknown> extends Join {
  /** Returns the user of a row if it has this id, otherwise null. */
  read(row: Row, id: string): User | null;
}

/** A store whose users are in the same database as the tokens. */
export interface JoinableUserStore<User = unknown> extends UserStore<User> {
  /**
   * @param userId - SQL of the token's column that holds the id of its user
   * @returns null if the users must be loaded with `findById` or `findByIds`
   */
  [USER_JOIN](userId: string): UserJoin<User> | null;
}

/**
 * Whether a user exists and is active. It fails closed: an undefined result of the store, for example because the column was not
 * loaded, counts as inactive.
 */
export function isActiveUser<User>(store: UserStore<User>, user: User | null | undefined): user is User {
  if (typeof user !== 'object' || user === null) return false;
  const active: unknown = store.isActive ? store.isActive(user) : true;
  return active === true;
}
