import { Scope, type Type } from '@nestjs/common';
import { APP_GUARD, type ModulesContainer } from '@nestjs/core';
import { ExpiringTokenGuard } from '../authentication/expiring-token.guard.js';
import { namedScopesOf, TOKEN_GUARD } from '../authentication/handler-requirements.js';
import { ExpiringTokenOptionsError, LIST_COPIES } from '../errors/expiring-token-options.error.js';
import { formatValue } from '../options/option-checks.js';
import { isScopeToken } from '../options/scopes.js';

/** A module in Nest's container. */
export type NestModule = ModulesContainer extends Map<string, infer Module> ? Module : never;
/** A provider in Nest's container. */
export type NestProvider = NestModule['providers'] extends Map<unknown, infer Wrapper> ? Wrapper : never;

/** Returns the module with this instance. */
export const moduleOf = (modules: ModulesContainer, instance: object): NestModule =>
  [...modules.values()].find((module) => module.metatype === instance.constructor && module.instance === instance)!;

const SCOPE_REMEDY =
  'Give it the default scope. A request is at hand in your own guards and handlers; docs/users.md shows how a store finds the tenant.';

/**
 * Checks that the application has one copy of this package. The classes of another copy have the same names, but they do not
 * find the providers of this one.
 *
 * @throws ExpiringTokenOptionsError if a module or a guard of another copy is in the container
 */
export function checkCopies(modules: ModulesContainer, own: Type): void {
  for (const { metatype, providers, injectables } of modules.values()) {
    const isOtherModule = metatype !== own && metatype.name === own.name;
    const guard = [...providers.values(), ...injectables.values()].find(isGuardOfOtherCopy);
    if (!isOtherModule && !guard) continue;
    throw new ExpiringTokenOptionsError(
      'imports',
      isOtherModule
        ? 'the application imports two copies of nestjs-expiring-token'
        : `${metatype.name} uses the guard of another copy of nestjs-expiring-token`,
      LIST_COPIES,
    );
  }
}

const isGuardOfOtherCopy = ({ metatype }: NestProvider): boolean =>
  typeof metatype === 'function' && Reflect.hasMetadata(TOKEN_GUARD, metatype) && !isGuardClass(metatype);

/**
 * Checks that Nest created all providers of a module of this package at the start. A provider that depends on the request does
 * not exist then, and a guard that does not exist protects nothing.
 *
 * @param users - the class of the option `users`
 * @throws ExpiringTokenOptionsError that names the provider with request scope
 */
export function checkScopes(own: NestModule, users: unknown): void {
  for (const provider of own.providers.values()) {
    const path = findRequestScope(provider);
    if (path.length === 0) continue;
    const isOfUsers = path.some(({ token }) => token === users);
    throw new ExpiringTokenOptionsError(isOfUsers ? 'users' : 'forRootAsync', describePath(path), SCOPE_REMEDY);
  }
}

/**
 * Checks the guards of this package that the application registers for all its routes.
 *
 * @throws ExpiringTokenOptionsError if Nest could not create one, because it depends on the request
 */
export function checkGlobalGuards(modules: ModulesContainer): void {
  for (const { providers } of modules.values()) {
    for (const provider of providers.values()) {
      if (!isGlobalGuard(provider) || provider.isDependencyTreeStatic()) continue;
      const path = findRequestScope(provider);
      if (!path.some(isPackageGuard)) continue;
      throw new ExpiringTokenOptionsError('APP_GUARD', describePath(path), SCOPE_REMEDY);
    }
  }
}

/** Nest gives each one a token of its own, which begins with `APP_GUARD`. */
const isGlobalGuard = ({ token }: NestProvider): boolean => String(token).startsWith(APP_GUARD);

/** The classes of all controllers and providers. */
export function* classesIn(modules: ModulesContainer): Iterable<Type> {
  for (const { controllers, providers } of modules.values()) {
    for (const { metatype } of [...controllers.values(), ...providers.values()]) {
      if (typeof metatype === 'function' && metatype.prototype) yield metatype as Type;
    }
  }
}

/**
 * Checks the scopes that decorators ask for: with a spelling mistake, no token with scopes could call the handler.
 *
 * @param catalogue - the option `scopes`; null: every scope is known
 * @throws ExpiringTokenOptionsError if one is no scope, or not in the catalogue
 */
export function checkScopeNames(modules: ModulesContainer, catalogue: readonly string[] | null): void {
  for (const type of classesIn(modules)) {
    for (const [place, scope] of namedScopesOf(type)) {
      if (isScopeToken(scope) && (!catalogue || catalogue.includes(scope))) continue;
      throw new ExpiringTokenOptionsError(
        'scopes',
        `${place} asks for ${formatValue(scope)}, which is ${isScopeToken(scope) ? 'not in the list' : 'no scope'}`,
        catalogue ? `The list has ${catalogue.join(', ')}.` : 'A scope is printable ASCII without spaces, " and \\.',
      );
    }
  }
}

export const isGuardClass = (metatype: unknown): boolean =>
  typeof metatype === 'function' &&
  (metatype === ExpiringTokenGuard || metatype.prototype instanceof ExpiringTokenGuard);

const isPackageGuard = ({ metatype }: NestProvider): boolean => isGuardClass(metatype);

/** Returns the providers from this one to the one that has request scope; none if it does not depend on such a provider. */
const findRequestScope = (provider: NestProvider): NestProvider[] =>
  findDependency(provider, ({ scope }) => scope === Scope.REQUEST);

/** Returns the providers from this one to one that matches; none if neither it nor what it depends on does. */
export function findDependency(
  provider: NestProvider,
  matches: (each: NestProvider) => boolean,
  visited = new Set<NestProvider>(),
): NestProvider[] {
  if (matches(provider)) return [provider];
  if (visited.has(provider)) return [];
  visited.add(provider);
  for (const dependency of dependenciesOf(provider)) {
    const path = findDependency(dependency, matches, visited);
    if (path.length > 0) return [provider, ...path];
  }
  return [];
}

function describePath(path: readonly NestProvider[]): string {
  const names = path.map(({ name }) =>
    typeof name === 'symbol' ? name.description : String(name).replace(/ \(UUID.*/, ''),
  );
  return names.length === 1
    ? `${names[0]} has request scope`
    : `${names[0]} depends on ${names.slice(1).join(', which depends on ')}, which has request scope`;
}

/** The providers that Nest injects into a provider, as parameters or properties. */
export function dependenciesOf(provider: NestProvider): NestProvider[] {
  // The list has no entry for a parameter that is optional and does not exist. Nest has no list for a provider without any.
  const parameters = (provider.getCtorMetadata() as (NestProvider | undefined)[] | undefined) ?? [];
  const properties = provider.getPropertiesMetadata() ?? [];
  return [...parameters, ...properties.map(({ wrapper }) => wrapper)].filter((dependency) => dependency !== undefined);
}
