import type { Duration } from './duration.js';
import type {
  CacheOptions,
  LimitOptions,
  LoginThrottleOptions,
  PasswordOptions,
  PersonalOptions,
  PruneOptions,
  RefreshOptions,
} from './nested.options.js';

/** What `POST obtain-token` does if its user already has a valid token from it. See {@link ExpiringTokenOptions.obtain}. */
export type ObtainPolicy = 'reuse' | 'renew' | 'replace';

/** Options of `forRoot`, and the options that a factory of `forRootAsync` returns. */
export interface ExpiringTokenOptions {
  /**
   * How long a token is valid after its creation: a string with a unit such as `'15m'`, or a number of at least 1,000
   * milliseconds. A change also applies to tokens already issued, except those issued with a lifespan of their own.
   *
   * Danger: with `null`, tokens never expire, and a stolen token is usable until it is revoked.
   *
   * @defaultValue `'30d'`; `'1h'` with `refresh`
   */
  lifespan?: Duration | null;

  /**
   * A token also expires if it is not used for this long (sliding expiration). `null`: it does not expire for lack of use.
   *
   * The last use is recorded with the accuracy of {@link ExpiringTokenOptions.lastUsedAccuracy}, so a token may expire
   * earlier by that much.
   *
   * @defaultValue `null`
   */
  idle?: Duration | null;

  /**
   * The last use of a token is written to the database at most once in this time. It must be shorter than any `idle`. The
   * shorter it is, the more often requests cause a write.
   *
   * @defaultValue `'30m'`, or half of the shortest `idle` if that is less
   */
  lastUsedAccuracy?: Duration;

  /**
   * Gives each device that logs in a refresh token, which `POST refresh` exchanges for a new pair of tokens. This option also
   * shortens the default of `lifespan`. `true`: with the defaults of {@link RefreshOptions}.
   *
   * @defaultValue `false`
   */
  refresh?: RefreshOptions | boolean;

  /**
   * Lets users make personal access tokens for scripts and machines: named and long-lived, and independent of devices and
   * passwords. `true`: with the defaults of {@link PersonalOptions}. `false`: there are no routes for them, and those that exist
   * are rejected.
   *
   * @defaultValue `false`
   */
  personal?: PersonalOptions | boolean;

  /**
   * Limits how many devices a user can have at the same time. `null`: no limit.
   *
   * @defaultValue `null`
   */
  limit?: LimitOptions | null;

  /**
   * Rate limit of failed logins. The user name and the address of the client have a counter each; a successful login clears
   * only the counter of the name. `false`: no limit, for an application that has its own.
   *
   * Danger: the address is the framework's `request.ip`. Behind a proxy, configure `trust proxy` (Express) or `trustProxy`
   * (Fastify): without it, all clients have the address of the proxy and share one counter.
   *
   * @defaultValue `{ limit: 10, ttl: '5m' }`
   */
  loginThrottle?: LoginThrottleOptions | false;

  /**
   * Maximum number of password hashes computed at the same time in the process: 1 to 1,024. Each hash occupies a thread, a
   * processor for about 20 ms, and 19 MiB of memory. With a higher number many users log in faster, while other requests wait
   * longer. On Linux, these threads have a lower priority than requests; on other systems, they are those of libuv, of which
   * there are four unless `UV_THREADPOOL_SIZE` is set. The option does not apply to the application's own `UserStore`.
   *
   * @defaultValue processors − 1, 1 to 3
   */
  hashConcurrency?: number;

  /**
   * Saves database time and round trips by keeping accepted tokens in memory; if the database is on the same machine, a cache
   * hit is no faster than a fresh look-up.
   *
   * Without a cache, each request sees the current state of the database. With it, changes made through this package in the
   * same process are seen immediately, and others within {@link CacheOptions.ttl}. `true`: with the defaults of
   * {@link CacheOptions}.
   *
   * Danger: requests may share one user object, which must not be modified. This concerns users from an application's own
   * `UserStore`, and from `typeOrmUsers` if TypeORM cannot read the entity with its token in one statement, for example
   * because it has eager relations.
   *
   * @defaultValue `false`
   */
  cache?: CacheOptions | boolean;

  /**
   * Deletes tokens that expired more than `retention` ago, in the background. `false`: only a call of
   * `ExpiringTokenService.prune()` deletes them, with the defaults. `true`: the defaults.
   *
   * @defaultValue `{ every: '1h', retention: '7d', batch: 1000 }`
   */
  prune?: PruneOptions | boolean;

  /**
   * The scopes that tokens of this application can have, for example `['notes:read', 'notes:write']`: a token with scopes may do
   * less than its user. Each name is one scope of RFC 6749 §3.3, printable ASCII without spaces, `"` and `\\`. A decorator that
   * asks for another name stops the start, and no token gets another one. Without this option, code may use any name.
   *
   * @defaultValue none
   */
  scopes?: readonly string[];

  /**
   * Accepts tokens that `ExpiringTokenService.import()` took over from another package: `'drf'`, 40 hexadecimal digits;
   * `'sanctum'`, with or without the id before the `|`.
   *
   * Danger: these tokens have no checksum, so each value of such a shape costs a query, even if an attacker invented it.
   *
   * @defaultValue `[]`
   */
  imported?: readonly ImportedShape[];

  /**
   * A random string of at least 32 bytes, or a list of them. With it, `obtain-token` can return a valid token again, although
   * the database holds only digests. The first secret signs. Tokens made with the others stay valid until they expire, or
   * until the next `obtain-token` of their user, which replaces them.
   *
   * Danger: whoever knows the secret and can read the database can compute these tokens.
   *
   * @defaultValue none
   */
  secret?: string | readonly string[];

  /**
   * What `POST obtain-token` does if its user already has a valid token from it: `'reuse'` returns that token unchanged,
   * `'renew'` returns it with `created` set to now, `'replace'` revokes it and issues another one. `'reuse'` and `'renew'`
   * need `secret`.
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
   * Policy for the passwords that `UserService.create`, `changePassword` and the command line set. It does not apply to logins,
   * so that a stricter policy locks nobody out, and not to `hashPassword`.
   *
   * @defaultValue `{ minLength: 8 }`
   */
  passwords?: PasswordOptions;

  /**
   * Accepted authorization schemes, compared case-insensitively (RFC 9110 §11.1).
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
   * URL of the metadata of this protected resource (RFC 9728), which the application serves itself. Every challenge contains it
   * as `resource_metadata`, so that a client, for example one of MCP, learns where it obtains a token. It begins with
   * `https://`.
   *
   * @defaultValue none
   */
  resourceMetadata?: string;

  /**
   * HTTP status of the response to an expired token. 400 is what djangorestframework-expiring-authtoken documents; RFC 6750
   * §3.1 requires 401.
   *
   * @defaultValue `401`
   */
  expiredStatus?: 400 | 401;

  /**
   * Start of every token, by which secret scanners find leaked tokens: 1 to 20 letters, digits, `_` or `-`.
   *
   * Danger: changing it invalidates all tokens.
   *
   * @defaultValue `'ext_'`
   */
  prefix?: string;

  /**
   * Start of all names that the package uses in a Redis which applications share: its keys and channels. 1 to 64 letters, digits,
   * `.`, `:`, `_` or `-`. All processes of an application have the same namespace, and no two applications do.
   *
   * Set it if two applications share a Redis although their tokens are in databases of the same name on different servers, or if
   * the processes of one application reach their database under different names.
   *
   * @defaultValue derived from database, schema and name of the table
   */
  namespace?: string;

  /**
   * Time limit for each database step of a request: first the guard, then the handler. Password hashing is not counted. If a
   * step takes longer, the request is answered 503 `unavailable`.
   *
   * @defaultValue `'2s'`
   */
  timeout?: Duration;
}

/** Interface of the class that `useClass` or `useExisting` of `forRootAsync` names. */
export interface ExpiringTokenOptionsFactory {
  /** Returns the options, or a promise of them. */
  createExpiringTokenOptions(): ExpiringTokenOptions | Promise<ExpiringTokenOptions>;
}

/** Another package whose tokens can be imported. See {@link ExpiringTokenOptions.imported}. */
export type ImportedShape = 'drf' | 'sanctum';
