import type { Duration } from './duration.js';

/** Settings of refresh tokens, as the option `refresh` takes them. */
export interface RefreshOptions {
  /**
   * A refresh token expires if it is not used for this long.
   *
   * @defaultValue `'7d'`
   */
  idle?: Duration;

  /**
   * A session ends this long after its login, however often it was refreshed. `null`: only `idle` ends it.
   *
   * Danger: with `null`, a stolen refresh token that is used often enough never expires.
   *
   * @defaultValue `'90d'`
   */
  lifespan?: Duration | null;

  /**
   * For this long after its first use, a refresh token can be used again and returns the same pair of tokens: for a client
   * whose response was lost, and for two browser tabs that refresh at the same time. At most 30 times, and only with the user
   * agent of the first use; each time `expiring-token.replayed` is emitted. 0 to 60 seconds.
   *
   * A refresh token that is used after this time, or after its successor was used, counts as stolen: all tokens of the
   * device are revoked. Danger: the longer this time, the longer the reuse of a stolen token goes unnoticed; with 0, a
   * client that loses one response loses its session.
   *
   * @defaultValue `'30s'`
   */
  grace?: Duration;

  /**
   * Name of the header in which a client may send the refresh token. With this header, a request to any other route than
   * `POST refresh` is answered 400 `request_invalid`.
   *
   * @defaultValue `'Refresh-Token'`
   */
  header?: string;
}

/** Settings of personal access tokens, as the option `personal` takes them. */
export interface PersonalOptions {
  /**
   * How long a personal token is valid if its user does not say it. A change does not apply to tokens already issued.
   *
   * @defaultValue `'90d'`; `longest` if that is less
   */
  lifespan?: Duration;

  /**
   * Maximum lifespan of a personal token that a client can request. `null`: no maximum, and a token may never expire.
   *
   * Danger: with `null`, a token that never expires is usable by a thief until somebody revokes it.
   *
   * @defaultValue `'365d'`
   */
  longest?: Duration | null;

  /**
   * How many valid personal tokens a user can have: 1 to 1,000. Another one is answered 403 `limit_reached`.
   *
   * @defaultValue `50`
   */
  perUser?: number;

  /**
   * Start of every personal token, which tells secret scanners and the guard what kind of token it is: 1 to 20 letters, digits,
   * `_` or `-`. Neither it nor the option `prefix` begins with the other one.
   *
   * Danger: changing it invalidates all personal tokens.
   *
   * @defaultValue `'extp_'`
   */
  prefix?: string;
}

/** Settings of the limit of devices, as the option `limit` takes them. */
export interface LimitOptions {
  /** Maximum number of devices with a valid token that a user can have, including the device of `obtain-token`. */
  perUser: number;

  /**
   * What a login does when the limit is reached: `'evict'` revokes the least recently used device, `'reject'` answers 403
   * `limit_reached`.
   */
  policy: 'evict' | 'reject';
}

/** Settings of the rate limit of failed logins, as the option `loginThrottle` takes them. */
export interface LoginThrottleOptions {
  /**
   * Failed logins allowed within `ttl`: for one user name, and from one address.
   *
   * @defaultValue `10`
   */
  limit?: number;

  /**
   * How long a failed login counts.
   *
   * @defaultValue `'5m'`
   */
  ttl?: Duration;

  /**
   * Redis, through which several processes share the counters: a URL, for which `ioredis` or `redis` must be installed, or the
   * application's own client of either package. While Redis is unavailable, each process counts on its own.
   *
   * @defaultValue none: each process counts alone
   */
  redis?: unknown;
}

/** Settings of the token cache, as the option `cache` takes them. */
export interface CacheOptions {
  /**
   * Maximum age of a cached token. Expiry, by age or by `idle`, is noticed immediately. This is the upper bound for
   * noticing:
   *
   * - changes made directly in the database, for example a user that the application deactivates or deletes;
   * - changes made by another process, if `redis` is not set;
   * - with `redis`: revocations by a process that cannot reach Redis. It publishes them as soon as it can;
   * - a revocation that was answered 503 although the database committed it.
   *
   * @defaultValue `'10s'`
   */
  ttl?: Duration;

  /**
   * Maximum number of cached tokens in each process: 1 to 10,000,000. The least recently used ones are evicted first.
   *
   * @defaultValue `50000`
   */
  max?: number;

  /**
   * Redis, through which the processes notify each other of revocations: a URL, for which `ioredis` or `redis` must be
   * installed, or the application's own client of either package. No token is stored there; the names of the channels start
   * with `expiring-token:`. A process that loses its connection, or receives nothing for 2.5 s, clears its cache and queries
   * the database for each request until Redis answers again.
   *
   * @defaultValue none: other processes notice within `ttl`
   */
  redis?: unknown;
}

/** Settings of the deletion of expired tokens, as the option `prune` takes them. */
export interface PruneOptions {
  /**
   * Time between two runs.
   *
   * @defaultValue `'1h'`
   */
  every?: Duration;

  /**
   * How long an expired token stays in the table, so that its client is answered `Token has expired` instead of `Invalid
   * token`.
   *
   * @defaultValue `'7d'`
   */
  retention?: Duration;

  /**
   * Maximum number of rows that one statement reads or deletes: 1 to 10,000. It is lowered automatically, down to 25, while
   * a statement takes longer than a few milliseconds.
   *
   * @defaultValue `1000`
   */
  batch?: number;
}

/** Policy for new passwords, as the option `passwords` takes it. */
export interface PasswordOptions {
  /**
   * Minimum length of a password, in code points: 1 to 256.
   *
   * @defaultValue `8`
   */
  minLength?: number;

  /**
   * Throws to reject a password, for example because it is in a list of breached ones. An `HttpException` is the response, or
   * what the method throws, unchanged. The message of any other error becomes that of a `validation_failed`: it must not
   * contain the password. It is called after the other checks, and has no time limit.
   *
   * @defaultValue none
   */
  check?: (password: string) => void | Promise<void>;
}
