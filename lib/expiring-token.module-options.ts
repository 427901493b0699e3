import type { ModuleMetadata, Type } from '@nestjs/common';
import { ExpiringTokenOptionsError } from './errors/expiring-token-options.error.js';
import type { ExpiringTokenOptions } from './options/expiring-token.options.js';
import { checkPattern, checkOneOf, rejectOption, formatValue } from './options/option-checks.js';
import { Token } from './tokens/token.entity.js';
import type { UserStore } from './users/user-store.js';

/** A route, or group of routes, that the module can serve. See {@link ExpiringTokenStructuralOptions.routes}. */
export type ExpiringTokenRoute = 'login' | 'obtain-token' | 'token' | 'refresh' | 'logout' | 'devices';

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

/** Every route, or group of routes, in the order of the documentation. */
const ROUTES: readonly ExpiringTokenRoute[] = ['login', 'obtain-token', 'token', 'refresh', 'logout', 'devices'];

/** The options that shape the module, as it uses them. Without `users` they are the built-in ones. */
export type ResolvedModuleOptions = Pick<ExpiringTokenStructuralOptions, 'users'> &
  Required<Omit<ExpiringTokenStructuralOptions, 'users' | 'routes'>> & { routes: readonly ExpiringTokenRoute[] };

/** Defaults of the structural options. */
export const MODULE_EXTRAS_DEFAULTS = {
  users: undefined,
  imports: [],
  path: 'auth',
  routes: ROUTES,
  isGlobal: false,
  globalGuard: false,
  dataSource: 'default',
  tokenEntity: Token,
} satisfies Record<keyof ExpiringTokenStructuralOptions, unknown>;

/**
 * Checks the options that shape the module, and fills in the defaults.
 *
 * @throws ExpiringTokenOptionsError naming the option, its value and the remedy
 */
export function resolveModuleOptions(given: ExpiringTokenStructuralOptions): ResolvedModuleOptions {
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    rejectOption('options', given, 'Give a lifespan, or an object of options.');
  const defined = Object.entries(given).filter(
    ([option, value]) => option in MODULE_EXTRAS_DEFAULTS && value !== undefined,
  );
  const options: Omit<ResolvedModuleOptions, 'routes'> & Required<Pick<ExpiringTokenStructuralOptions, 'routes'>> = {
    ...MODULE_EXTRAS_DEFAULTS,
    ...Object.fromEntries(defined),
  };
  const { users, imports, path, routes, isGlobal, globalGuard, dataSource, tokenEntity } = options;
  if (users !== undefined && typeof users !== 'function') {
    rejectOption('users', users, 'Give an injectable class that implements UserStore, or what typeOrmUsers returns.');
  }
  if (!Array.isArray(imports)) rejectOption('imports', imports, 'Give a list of modules.');
  checkPattern('path', path, /^[\w.~/-]*$/, "Give URL path segments, such as 'auth' or 'api/auth'.");
  if (routes !== false && !Array.isArray(routes)) {
    rejectOption('routes', routes, `Give false, or a list of ${ROUTES.map(formatValue).join(', ')}.`);
  }
  const served = new Set(routes === false ? [] : routes.map((route) => checkOneOf('routes', route, ROUTES)));
  checkOneOf('isGlobal', isGlobal, [true, false]);
  checkOneOf('globalGuard', globalGuard, [true, false]);
  checkPattern('dataSource', dataSource, /./, "Give the name of a data source, such as 'default'.");
  if (tokenEntity !== Token && !(typeof tokenEntity === 'function' && tokenEntity.prototype instanceof Token)) {
    rejectOption('tokenEntity', tokenEntity, 'Give an entity class that extends Token.');
  }
  return { ...options, routes: [...served] };
}

/**
 * {@link resolveModuleOptions} for `forRoot`, which knows already whether there are refresh tokens to serve.
 *
 * @throws ExpiringTokenOptionsError naming the option, its value and the remedy
 */
export function resolveForRootOptions(given: ExpiringTokenModuleOptions): ResolvedModuleOptions {
  const structure = resolveModuleOptions(given);
  if (given.refresh) return structure;
  if (given.routes && given.routes.includes('refresh')) {
    rejectOption('routes', given.routes, "Give the option refresh as well, or leave 'refresh' out.");
  }
  return { ...structure, routes: structure.routes.filter((route) => route !== 'refresh') };
}

/** Where the options of `forRootAsync` come from. */
const FACTORIES = ['useFactory', 'useClass', 'useExisting'];

/** What stands beside the structural options in `forRootAsync`. */
const ASYNC_OPTIONS = ['imports', 'inject', ...FACTORIES, 'provideInjectionTokensFrom'];

/**
 * {@link resolveModuleOptions} for `forRootAsync`, beside whose factory any other option would have no effect.
 *
 * @throws ExpiringTokenOptionsError naming the option, its value and the remedy
 */
export function resolveForRootAsyncOptions(given: ExpiringTokenStructuralOptions): ResolvedModuleOptions {
  const structure = resolveModuleOptions(given);
  const stray = Object.keys(given).find(
    (option) => !(option in MODULE_EXTRAS_DEFAULTS) && !ASYNC_OPTIONS.includes(option),
  );
  if (stray !== undefined) {
    throw new ExpiringTokenOptionsError(
      stray,
      'it is no option beside the factory',
      'Mend its spelling, or return it from the factory.',
    );
  }
  const factories = FACTORIES.filter((option) => given[option as keyof typeof given] !== undefined);
  if (factories.length !== 1) {
    throw new ExpiringTokenOptionsError(
      'forRootAsync',
      factories.length === 0 ? 'nothing gives it its options' : `it has ${factories.join(' and ')}`,
      `Give one of ${FACTORIES.join(', ')}.`,
    );
  }
  return structure;
}
