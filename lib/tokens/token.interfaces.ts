import type { Duration } from '../options/duration.js';
import type { PruneOptions } from '../options/nested.options.js';
import type { Credentials } from '../users/user-store.js';
import type { Token } from './token.entity.js';

/** A new token: its value, which can be shown only now, and its row. */
export interface IssuedToken {
  /** The token that the client sends from now on. It is stored nowhere: send it to the client, and do not keep it. */
  plainText: string;
  /** Its row. */
  token: Token;
}

/** The two tokens that a refresh gives a device. Both are new. */
export interface IssuedPair {
  /** For the `Authorization` header. */
  access: IssuedToken;
  /** For the next refresh. */
  refresh: IssuedToken;
}

/** The tokens that a login gives a device. */
export interface LoggedIn {
  /** For the `Authorization` header. */
  access: IssuedToken;
  /** For the next refresh; null without the option `refresh`. */
  refresh: IssuedToken | null;
}

/** The user who sent a request, and the token that the request presented. */
export interface Authentication<User = unknown> {
  /** What `UserStore.findById` returned. */
  user: User;
  /** The row of the token. */
  token: Token;
}

/** What is known about a new token's device. Both are stored without control characters, cut at 255 code points. */
export interface DeviceOptions {
  /** Its name. */
  name?: string | null;
  /** Its user agent. */
  userAgent?: string | null;
}

/** Options of a login. */
export interface LogInOptions extends DeviceOptions {
  /**
   * The object that `UserStore.validateCredentials` accepted. Then no token is issued if the password changes before the
   * token is inserted: pass it in a login route of your own.
   */
  credentials?: Credentials;
}

/** Options of a new token. */
export interface IssueOptions extends DeviceOptions {
  /** Its own lifespan, which a change of the module's option does not affect; null: it never expires. */
  lifespan?: Duration | null;
  /**
   * What it may do, as names of the option `scopes`; at most 1,000 characters, with a space between two. The empty list allows
   * nothing that asks for a scope. Default: null, everything that its user may do.
   */
  scopes?: readonly string[] | null;
  /**
   * The id of somebody else who uses the token in place of the user, for example an administrator who looks into a problem: see
   * `Token.actorId`. Such a device does not count for the option `limit`, and the token can make no personal token.
   *
   * Danger: its holder may do whatever the user may. Check first that this person may impersonate the user, and give the token a
   * short `lifespan`.
   */
  actor?: string | null;
}

/** Options of a change to the devices of a user. */
export interface ChangeOptions {
  /**
   * The token of the request that asks for the change. Changes of one user are made one after another, and the requests of
   * different tokens take turns. So the holder of a stolen token cannot delay what the user does with another token.
   */
  by?: Token;
}

/** Which tokens of a user a revocation of all of them ends. */
export interface RevokeAllOptions {
  /** The `deviceId` that is not revoked, usually that of the request. */
  except?: string;
  /** Whether personal tokens end too. By default they stay, so that a nightly job does not end with a changed password. */
  personal?: boolean;
}

/** A token that another package issued. Set either `key` or `digest`. */
export interface ImportedToken {
  /** What `UserStore.getId` returns for the owner. */
  userId: string;
  /** The token itself. For Django REST framework: the 40 hexadecimal digits of `authtoken_token.key`. Only its digest is stored. */
  key?: string;
  /** Its SHA-256 in hexadecimal. For Sanctum: `personal_access_tokens.token`. */
  digest?: string;
  /** When it was created. Its age is counted from here. */
  created: Date;
  /** Its own lifespan, counted from `created`; null: it never expires. Default: the option `lifespan`, which is an hour with `refresh`. */
  lifespan?: Duration | null;
  /** The name of its device. */
  name?: string | null;
  /** When it was last used. Default: the option `idle` counts from `created`. */
  lastUsedAt?: Date | null;
  /** What it may do, as names of the option `scopes`. Default: null, everything that its user may do. */
  scopes?: readonly string[] | null;
  /**
   * In place of `scopes`, for Sanctum: `personal_access_tokens.abilities`, as the list or as its JSON. A list with `*` allows
   * everything; null allows nothing that asks for a scope.
   */
  abilities?: readonly string[] | string | null;
}

/** Options of a sweep that the application starts. */
export interface PruneJob extends Pick<PruneOptions, 'retention' | 'batch'> {
  /** Called after each batch. Without it, the tokens are not counted before the sweep. */
  onProgress?: (progress: PruneProgress) => void;
  /** Ends the sweep before its next batch: what was deleted until then stays deleted. */
  signal?: AbortSignal;
}

/** The progress of a sweep. */
export interface PruneProgress {
  /** Tokens deleted so far. */
  deleted: number;
  /** Tokens examined so far. */
  examined: number;
  /** Tokens that the sweep examines in total, counted at its start; null if counting them took too long. */
  total: number | null;
}

/** What the option `cache` saves in one process, and whether it works now. Counted since the process started. */
export interface CacheStatus {
  /**
   * Whether tokens are cached now. False without the option `cache`, and while no messages arrive from its `redis`: then each
   * token is looked up in the database.
   */
  isOpen: boolean;

  /** Cached tokens; at most the option `cache.max`. */
  size: number;

  /** Requests that caused no query: their token was cached, or another request was already looking it up. */
  hits: number;

  /** Tokens that were looked up in the database. Those of the same moment are found with one query. */
  lookUps: number;

  /** How many messages Redis delivered about revoked or changed tokens, from this process or another. */
  revocations: number;
}
