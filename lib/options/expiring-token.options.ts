import type { Duration } from './duration.js';

/** What `POST obtain-token` does while a live token exists. See {@link ExpiringTokenOptions.obtain}. */
export type ObtainPolicy = 'reuse' | 'renew' | 'replace';

/** How a device renews itself. See {@link ExpiringTokenOptions.refresh}. */
export interface RefreshOptions {
  /**
   * A refresh token is dead once it was not used for this long.
   *
   * @defaultValue `'7d'`
   */
  idle?: Duration;

  /**
   * A refresh token is dead this long after the login, however often it was used. `null`: never, as long as it is used.
   *
   * @defaultValue `'90d'`
   */
  lifespan?: Duration | null;

  /**
   * How long the same refresh token gets the same pair again, for answers that were lost and for two tabs at once: 0 to 60
   * seconds. Used again after it, or after its successor was used, it is taken for stolen: the device ends. With 0, so does
   * one whose client lost an answer.
   *
   * @defaultValue `'30s'`
   */
  grace?: Duration;

  /**
   * The header that a client may send the refresh token in; anywhere but at `POST refresh` it is refused.
   *
   * @defaultValue `'Refresh-Token'`
   */
  header?: string;
}

/** How many devices a user can have. See {@link ExpiringTokenOptions.limit}. */
export interface LimitOptions {
  /** Live devices that a user can have at once, the one of `obtain-token` among them. */
  perUser: number;

  /**
   * What a login does when there are that many: `'evict'` ends the device unused longest, `'reject'` answers 403
   * `limit_reached`.
   */
  policy: 'evict' | 'reject';
}

/** How failed logins are limited. See {@link ExpiringTokenOptions.loginThrottle}. */
export interface LoginThrottleOptions {
  /**
   * Failed logins allowed of one user name, and from one address, within `ttl`.
   *
   * @defaultValue `10`
   */
  limit?: number;

  /**
   * How long a failed login is counted.
   *
   * @defaultValue `'5m'`
   */
  ttl?: Duration;

  /**
   * The application's own `ioredis` or `redis` client, in which several processes count together. While Redis cannot be
   * asked each process counts alone.
   *
   * @defaultValue none: each process counts alone
   */
  redis?: unknown;
}

/** How tokens that were let in are remembered. See {@link ExpiringTokenOptions.cache}. */
export interface CacheOptions {
  /**
   * For how long at most. What is changed past this package, in the database itself or by another process without `redis`,
   * is noticed within this time: a user that the application makes inactive or deletes, too. So is what was revoked, with
   * `redis`, by a process that cannot reach Redis, which tells the others once it can; and what is done after all of a
   * revocation that was answered 503. That a token has expired, or idled out, is noticed at once.
   *
   * @defaultValue `'10s'`
   */
  ttl?: Duration;

  /**
   * How many in each process: 1 to 10,000,000. Those that were not used for the longest time are forgotten first.
   *
   * @defaultValue `50000`
   */
  max?: number;

  /**
   * Redis, by which the processes tell each other whose tokens were revoked: a URL, for which `ioredis` or `redis` is
   * installed, or the application's own client of either. It holds no tokens; its channels start with `expiring-token:`. A
   * process that loses its connection forgets all at once, and one that hears nothing within 2.5 s, until it hears again.
   *
   * @defaultValue none: other processes notice within `ttl`
   */
  redis?: unknown;
}

/** How expired tokens are deleted. See {@link ExpiringTokenOptions.prune}. */
export interface PruneOptions {
  /**
   * Time from one sweep to the next.
   *
   * @defaultValue `'1h'`
   */
  every?: Duration;

  /**
   * How long an expired token stays, so that its client hears `Token has expired` and not `Invalid token`.
   *
   * @defaultValue `'7d'`
   */
  retention?: Duration;

  /**
   * Rows that one statement looks at, and deletes at most: 1 to 10,000. Down to 25 of them where more would take
   * longer than a few milliseconds.
   *
   * @defaultValue `1000`
   */
  batch?: number;
}

/** Options that `forRoot` takes, and that a factory of `forRootAsync` returns. */
export interface ExpiringTokenOptions {
  /**
   * How long a token is live after it was created. Changing it applies to tokens already issued, unless they were issued
   * with a lifespan of their own. `null`: never expires, which leaves a stolen token usable until it is revoked.
   *
   * @defaultValue `'30d'`; `'1h'` with `refresh`
   */
  lifespan?: Duration | null;

  /**
   * A token is also dead once it was not used for this long. `null`: however long it was not used. Uses are recorded as
   * coarsely as {@link ExpiringTokenOptions.lastUsedAccuracy} says, so count on `idle` less that.
   *
   * @defaultValue `null`
   */
  idle?: Duration | null;

  /**
   * The last use of a token is written at most once in this time. Shorter than any `idle`, whose half is the default where
   * that is less.
   *
   * @defaultValue `'30m'`, or half of the shortest `idle`
   */
  lastUsedAccuracy?: Duration;

  /**
   * Gives each device that logs in a refresh token, which `POST refresh` exchanges for a new pair of tokens. Its presence
   * shortens the default of `lifespan`.
   *
   * @defaultValue `false`
   */
  refresh?: RefreshOptions | false;

  /**
   * How many devices a user can have at once; `null` for no limit.
   *
   * @defaultValue `null`
   */
  limit?: LimitOptions | null;

  /**
   * Failed logins: the user name and the address have a counter each. A success clears that of the name. `false` counts
   * none, for an application that limits them itself.
   *
   * The address is `request.ip` of the framework: behind a proxy tell Express (`trust proxy`) or Fastify (`trustProxy`).
   *
   * @defaultValue `{ limit: 10, ttl: '5m' }`
   */
  loginThrottle?: LoginThrottleOptions | false;

  /**
   * How many password hashes run at once in the process: each takes a thread of libuv, of which there are four unless
   * `UV_THREADPOOL_SIZE` says otherwise, a processor for some 20 ms and 19 MiB. The more, the sooner a crowd is logged in, and
   * the longer other requests wait meanwhile. Of users of another store than this package's it says nothing.
   *
   * @defaultValue processors − 1, 1 to 3
   */
  hashConcurrency?: number;

  /**
   * Remembers tokens that were let in, so that the database is not asked on each request. Without it every request sees
   * what the database has, and with it what this package does in the same process; see the options for the rest. A user
   * is the same object for all requests meanwhile, not to be changed by one, where a store of the application's gave it, or
   * `typeOrmUsers` for an entity that is not read in one statement with its token: with eager relations, say.
   *
   * @defaultValue `false`
   */
  cache?: CacheOptions | false;

  /**
   * Deletes tokens that expired more than `retention` ago, in the background. `false`: never, unless
   * `ExpiringTokenService.prune()` is called, which then takes the defaults.
   *
   * @defaultValue `{ every: '1h', retention: '7d', batch: 1000 }`
   */
  prune?: PruneOptions | false;

  /**
   * Admits tokens that `ExpiringTokenService.import()` took over from another package: `'drf'`, 40 hexadecimal digits;
   * `'sanctum'`, with or without the key before the `|`. Whatever has such a shape costs a query, as they
   * have no checksum.
   *
   * @defaultValue `[]`
   */
  imported?: readonly ImportedShape[];

  /**
   * A key of at least 32 bytes, or a list of them. With it, `obtain-token` can show a live token again though only
   * digests are stored; the first one signs, the others are still recognised. Whoever has it and the database has those
   * tokens.
   *
   * @defaultValue none
   */
  secret?: string | readonly string[];

  /**
   * What `POST obtain-token` does while a live token exists: `'reuse'` returns it as it is, `'renew'` returns it with
   * `created` set to now, `'replace'` revokes it and issues another. The first two need `secret`.
   *
   * @defaultValue `'reuse'` with a `secret`, else `'replace'`
   */
  obtain?: ObtainPolicy;

  /**
   * The JSON field of the credentials that holds the user name.
   *
   * @defaultValue `'username'`
   */
  usernameField?: string;

  /**
   * The JSON field of the credentials that holds the password.
   *
   * @defaultValue `'password'`
   */
  passwordField?: string;

  /**
   * Authorization schemes accepted, compared without regard to case (RFC 9110 §11.1).
   *
   * @defaultValue `['Bearer']`
   */
  schemes?: readonly string[];

  /**
   * Realm of the challenges (RFC 9110 §11.5): printable ASCII without `"` and `\`.
   *
   * @defaultValue `'api'`
   */
  realm?: string;

  /**
   * Status that answers an expired token. 400 is what djangorestframework-expiring-authtoken documents; RFC 6750 §3.1
   * asks for 401.
   *
   * @defaultValue `401`
   */
  expiredStatus?: 400 | 401;

  /**
   * Start of every token, by which secret scanners know it: 1 to 20 letters, digits, `_` or `-`. Changing it invalidates
   * all tokens.
   *
   * @defaultValue `'ext_'`
   */
  prefix?: string;

  /**
   * Longest wait for the database on one request, at each of its steps: the guard, and what the route does then. Hashing a
   * password is not counted. After it the answer is 503.
   *
   * @defaultValue `'2s'`
   */
  timeout?: Duration;
}

/** Implemented by a class that `useClass` or `useExisting` of `forRootAsync` names. */
export interface ExpiringTokenOptionsFactory {
  /** Returns the options, or a promise of them. */
  createExpiringTokenOptions(): ExpiringTokenOptions | Promise<ExpiringTokenOptions>;
}

/** Another package whose tokens can be imported. See `imported` of the options. */
export type ImportedShape = 'drf' | 'sanctum';
