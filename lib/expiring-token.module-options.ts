import type { ModuleMetadata, Type } from '@nestjs/common';
import { ExpiringTokenOptionsError, LIST_COPIES } from './errors/expiring-token-options.error.js';
import type { ExpiringTokenOptions } from './options/expiring-token.options.js';
import { checkOneOf, checkPattern, formatValue, rejectOption } from './options/option-checks.js';
import { type ExpiringTokenRoute, ROUTE_NAMES, ROUTES } from './routes/routes.js';
import { Token } from './tokens/token.entity.js';
import { User } from './users/user.entity.js';
import type { UserStore } from './users/user-store.js';

export type { ExpiringTokenRoute } from './routes/routes.js';

/**
 * Options that shape the module itself. Pass them to `forRoot`, or to `forRootAsync` beside the factory: Nest needs them before
 * it calls a factory, so a factory cannot return them.
 */
export interface ExpiringTokenStructuralOptions {
  /**
   * An injectable class that implements {@link UserStore}: your own, or a class that `typeOrmUsers` returns.
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
   * Prefix of the module's routes.
   *
   * @defaultValue `'auth'`
   */
  path?: string;

  /**
   * The routes to serve, as a list; `false` for none. `'logout'` includes `logout-all`. `'refresh'` needs the option `refresh`,
   * and `'tokens'` the option `personal`.
   *
   * @defaultValue all that apply
   */
  routes?: false | readonly ExpiringTokenRoute[];

  /**
   * Whether every module of the application can inject the guard and the services without importing this module.
   *
   * @defaultValue `false`
   */
  isGlobal?: boolean;

  /**
   * Whether the guard protects every route of the application. `@Public()` exempts a route. Messages of gateways are protected
   * with Nest 12. With Nest 11 the application does not start if a gateway has neither a guard of its own nor `@Public()`.
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
   * Your subclass of {@link Token}, which may have more columns.
   *
   * @defaultValue `Token`
   */
  tokenEntity?: Type<Token>;

  /**
   * Your subclass of the built-in {@link User}, which may have more columns. It cannot be combined with `users`.
   *
   * @defaultValue `User`
   */
  userEntity?: Type<User>;
}

/** All options of {@link ExpiringTokenModule.forRoot}. */
export type ExpiringTokenModuleOptions = ExpiringTokenOptions & ExpiringTokenStructuralOptions;

/** The checked structural options with their defaults. `users` is undefined for the built-in store. */
export type ResolvedModuleOptions = Pick<ExpiringTokenStructuralOptions, 'users'> &
  Required<Omit<ExpiringTokenStructuralOptions, 'users' | 'routes'>> & { routes: readonly ExpiringTokenRoute[] };

/** Defaults of the structural options. */
export const MODULE_EXTRAS_DEFAULTS = {
  users: undefined,
  imports: [],
  path: 'auth',
  routes: ROUTE_NAMES,
  isGlobal: false,
  globalGuard: false,
  dataSource: 'default',
  tokenEntity: Token,
  userEntity: User,
} satisfies Record<keyof ExpiringTokenStructuralOptions, unknown>;

const isStructural = (option: string): boolean => Object.hasOwn(MODULE_EXTRAS_DEFAULTS, option);

/**
 * Checks the structural options and fills in the defaults. Other options are ignored here.
 *
 * @throws ExpiringTokenOptionsError with the option, its value and the remedy
 */
export function resolveModuleOptions(options: ExpiringTokenStructuralOptions): ResolvedModuleOptions {
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    rejectOption('options', options, 'Give a lifespan, or an object of options.');
  const given = Object.entries(options).filter(([option, value]) => isStructural(option) && value !== undefined);
  const resolved: Omit<ResolvedModuleOptions, 'routes'> & Required<Pick<ExpiringTokenStructuralOptions, 'routes'>> = {
    ...MODULE_EXTRAS_DEFAULTS,
    ...Object.fromEntries(given),
  };
  const { users, imports, path, routes, isGlobal, globalGuard, dataSource, tokenEntity, userEntity } = resolved;
  if (users !== undefined && typeof users !== 'function') {
    rejectOption(
      'users',
      users,
      'Give an injectable class that implements UserStore, or a class that typeOrmUsers returns.',
    );
  }
  if (!Array.isArray(imports)) rejectOption('imports', imports, 'Give a list of modules.');
  checkPattern('path', path, /^[\w.~/-]*$/, "Give URL path segments, such as 'auth' or 'api/auth'.");
  if (routes !== false && !Array.isArray(routes)) {
    rejectOption('routes', routes, `Give false, or a list of ${ROUTE_NAMES.map(formatValue).join(', ')}.`);
  }
  const served = routes === false ? [] : routes.map((route) => checkOneOf('routes', route, ROUTE_NAMES));
  checkOneOf('isGlobal', isGlobal, [true, false]);
  checkOneOf('globalGuard', globalGuard, [true, false]);
  checkPattern('dataSource', dataSource, /./, "Give the name of a data source, such as 'default'.");
  if (tokenEntity !== Token && !(typeof tokenEntity === 'function' && tokenEntity.prototype instanceof Token)) {
    rejectOption(
      'tokenEntity',
      tokenEntity,
      `Give an entity class that extends Token. ${copiesHint(tokenEntity, Token)}`,
    );
  }
  if (userEntity !== User && !(typeof userEntity === 'function' && userEntity.prototype instanceof User)) {
    rejectOption('userEntity', userEntity, `Give an entity class that extends User. ${copiesHint(userEntity, User)}`);
  }
  if (userEntity !== User && users !== undefined) {
    throw new ExpiringTokenOptionsError(
      'userEntity',
      'it is the entity of the built-in store, which the option users replaces',
      'Leave out userEntity, or users.',
    );
  }
  return { ...resolved, routes: [...new Set(served)] };
}

/** The remedy if a class extends a class with the same name as the right one. */
function copiesHint(given: unknown, base: Type): string {
  for (let parent = given; typeof parent === 'function'; parent = Object.getPrototypeOf(parent)) {
    if (parent.name === base.name) return LIST_COPIES;
  }
  return '';
}

/**
 * Resolves the structural options of `forRoot`. The runtime options are known there, so a route whose option is missing is
 * not served, or rejected if the application lists it.
 *
 * @throws ExpiringTokenOptionsError with the option, its value and the remedy
 */
export function resolveForRootOptions(options: ExpiringTokenModuleOptions): ResolvedModuleOptions {
  const resolved = resolveModuleOptions(options);
  const isUnavailable = (route: ExpiringTokenRoute) => {
    const { requires } = ROUTES[route];
    return requires !== undefined && !options[requires];
  };
  const listed = options.routes && options.routes.find(isUnavailable);
  if (listed) {
    rejectOption(
      'routes',
      options.routes,
      `Give the option ${ROUTES[listed].requires} as well, or leave '${listed}' out.`,
    );
  }
  return { ...resolved, routes: resolved.routes.filter((route) => !isUnavailable(route)) };
}

/** The properties of which `forRootAsync` takes one, to obtain the runtime options. */
const FACTORIES = ['useFactory', 'useClass', 'useExisting'];

/** The properties of `forRootAsync` that are not structural options. */
const ASYNC_OPTIONS = ['imports', 'inject', ...FACTORIES, 'provideInjectionTokensFrom'];

/**
 * Resolves the structural options of `forRootAsync`. Other options are rejected, because they would have no effect beside the
 * factory.
 *
 * @throws ExpiringTokenOptionsError with the option, its value and the remedy
 */
export function resolveForRootAsyncOptions(options: ExpiringTokenStructuralOptions): ResolvedModuleOptions {
  const resolved = resolveModuleOptions(options);
  const unknown = Object.keys(options).find((option) => !isStructural(option) && !ASYNC_OPTIONS.includes(option));
  if (unknown !== undefined) {
    throw new ExpiringTokenOptionsError(
      unknown,
      'forRootAsync has no such option beside the factory',
      'Fix the spelling, or return the option from the factory.',
    );
  }
  const factories = FACTORIES.filter((option) => options[option as keyof typeof options] !== undefined);
  if (factories.length !== 1) {
    throw new ExpiringTokenOptionsError(
      'forRootAsync',
      factories.length === 0 ? 'it has no factory' : `it has ${factories.join(' and ')}`,
      `Give exactly one of ${FACTORIES.join(', ')}.`,
    );
  }
  return resolved;
}
