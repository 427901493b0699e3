import type { Duration } from '../options/duration.js';
import type { PruneOptions } from '../options/nested.options.js';
import type { Token } from './token.entity.js';

/** A token at the one moment when it can be shown. */
export interface IssuedToken {
  /** What the client sends from now on. It is nowhere stored: show it, and forget it. */
  plainText: string;
  /** Its row. */
  token: Token;
}

/** What a refresh gives a device. Both are new. */
export interface IssuedPair {
  /** For the `Authorization` header. */
  access: IssuedToken;
  /** For the next refresh. */
  refresh: IssuedToken;
}

/** What a login gives a device. */
export interface LoggedIn {
  /** For the `Authorization` header. */
  access: IssuedToken;
  /** For the next refresh; null without the option `refresh`. */
  refresh: IssuedToken | null;
}

/** Who sent a request, and with what token. */
export interface Authentication<User = unknown> {
  /** What `UserStore.findById` returned. */
  user: User;
  /** The row of the token. */
  token: Token;
}

/** What is known of a new token's device. Both are stored without control characters, cut at 255 code points. */
export interface DeviceOptions {
  /** Its name. */
  name?: string | null;
  /** Its user agent. */
  userAgent?: string | null;
}

/** What a new token may be given. */
export interface IssueOptions extends DeviceOptions {
  /** Its own lifespan, whatever the module's is or becomes; null: it never expires. */
  lifespan?: Duration | null;
}

/** A token that another package issued. One of `key` and `digest` is given. */
export interface ImportedToken {
  /** What `UserStore.getId` returns for the owner. */
  userId: string;
  /** The token itself: of Django REST framework the 40 hexadecimal digits of `authtoken_token.key`. Only its digest is stored. */
  key?: string;
  /** Its SHA-256 in hexadecimal: of Sanctum `personal_access_tokens.token`. */
  digest?: string;
  /** When it was created. Its age is counted from here. */
  created: Date;
  /** Its own lifespan, counted from `created`; null: it never expires. Left out: that of the module, an hour with `refresh`. */
  lifespan?: Duration | null;
  /** Name of its device. */
  name?: string | null;
  /** When it was last used. Left out, idling is counted from `created`. */
  lastUsedAt?: Date | null;
}

/** How a sweep is done that an application asks for itself. */
export interface PruneJob extends Pick<PruneOptions, 'retention' | 'batch'> {
  /** Is told after each batch how far it is. Without it nothing is counted beforehand. */
  onProgress?: (progress: PruneProgress) => void;
  /** Ends the sweep before its next batch: what was deleted until then stays deleted. */
  signal?: AbortSignal;
}

/** How far a sweep is. */
export interface PruneProgress {
  /** Tokens deleted so far. */
  deleted: number;
  /** Tokens looked at so far. */
  examined: number;
  /** Tokens old enough to be looked at, as they were counted at its start; null where counting them took too long. */
  total: number | null;
}

/** What the option `cache` saves one process, and whether it can: counted since the process started. */
export interface CacheStatus {
  /**
   * Whether tokens are remembered now. False without the option `cache`, and while its `redis` is not heard: each request
   * is looked up then.
   */
  isOpen: boolean;

  /** Tokens that are remembered; at most the option `cache.max`. */
  size: number;

  /** Requests that asked the database nothing: their token was remembered, or being looked up for another one. */
  hits: number;

  /** Tokens that were looked up in the database; those of one moment are asked for together. */
  lookUps: number;

  /** How often Redis told that tokens were revoked or changed, by this process or another. */
  revocations: number;
}
