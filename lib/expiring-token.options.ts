import type { ModuleMetadata, Type } from '@nestjs/common';
import type { Duration } from './duration.js';
import type { Token } from './tokens/token.entity.js';
import type { UserStore } from './tokens/user-store.js';

/** What `POST obtain-token` does while a live token exists. See {@link ExpiringTokenOptions.obtain}. */
export type ObtainPolicy = 'reuse' | 'renew' | 'replace';

/** A route, or group of routes, that the module can serve. See {@link ExpiringTokenStructuralOptions.routes}. */
export type ExpiringTokenRoute = 'login' | 'obtain-token' | 'token' | 'logout' | 'devices';

/** Options that `forRoot` takes, and that a factory of `forRootAsync` returns. */
export interface ExpiringTokenOptions {
  /**
   * How long a token is live after it was created. Changing it applies to tokens already issued, unless they were issued
   * with a lifespan of their own. `null`: never expires, which leaves a stolen token usable until it is revoked.
   *
   * @defaultValue `'30d'`
   */
  lifespan?: Duration | null;

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
   * Longest wait for the database on one request; hashing a password is not counted. After it the answer is 503.
   *
   * @defaultValue `'2s'`
   */
  timeout?: Duration;
}

/** Options that shape the module itself: given to `forRoot`, or beside the factory of `forRootAsync`, never from it. */
export interface ExpiringTokenStructuralOptions {
  /**
   * An injectable class that implements {@link UserStore}: your own, or one made by `typeOrmUsers`.
   *
   * @defaultValue the built-in store over `User`
   */
  users?: Type<UserStore>;

  /**
   * Modules whose providers the `users` class needs.
   *
   * @defaultValue `[]`
   */
  imports?: ModuleMetadata['imports'];

  /**
   * Prefix of the routes.
   *
   * @defaultValue `'auth'`
   */
  path?: string;

  /**
   * `false` for none, or the list of routes to serve. `'logout'` brings `logout-all` too.
   *
   * @defaultValue all
   */
  routes?: false | readonly ExpiringTokenRoute[];

  /**
   * Makes the guard and the services visible in every module of the application.
   *
   * @defaultValue `false`
   */
  isGlobal?: boolean;

  /**
   * The guard protects every route of the application; `@Public()` opens one.
   *
   * @defaultValue `false`
   */
  globalGuard?: boolean;

  /**
   * Name of the TypeORM data source that holds the tokens.
   *
   * @defaultValue `'default'`
   */
  dataSource?: string;

  /**
   * A subclass of {@link Token} with columns of its own.
   *
   * @defaultValue `Token`
   */
  tokenEntity?: Type<Token>;
}

/** Everything that {@link ExpiringTokenModule.forRoot} takes. */
export type ExpiringTokenModuleOptions = ExpiringTokenOptions & ExpiringTokenStructuralOptions;

/** Implemented by a class that `useClass` or `useExisting` of `forRootAsync` names. */
export interface ExpiringTokenOptionsFactory {
  /** Returns the options, or a promise of them. */
  createExpiringTokenOptions(): ExpiringTokenOptions | Promise<ExpiringTokenOptions>;
}
