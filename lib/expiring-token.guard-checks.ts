import type { Type } from '@nestjs/common';
import { type ApplicationConfig, ModuleRef, type ModulesContainer, NestApplicationContext } from '@nestjs/core';
import { AuthGuard } from '@nestjs/passport';
import passport from 'passport';
import { ExpiringTokenGuard } from './authentication/expiring-token.guard.js';
import { GlobalGuard } from './authentication/global.guard.js';
import { unguardedMethodsOf } from './authentication/handler-requirements.js';
import { RequestAuthenticator } from './authentication/request-authenticator.js';
import { RequestOwner } from './authentication/request-owner.js';
import { SocketAuthenticator } from './authentication/socket-authenticator.js';
import { ExpiringTokenOptionsError } from './errors/expiring-token-options.error.js';
import { STRATEGY_NAME } from './expiring-token.constants.js';
import { classesIn, findDependency, isGuardClass, type NestProvider } from './expiring-token.container-checks.js';
import { ExpiringTokenService } from './tokens/expiring-token.service.js';

/**
 * Checks that the guards of `app.useGlobalGuards()` exist, and that `@RequireToken()` and `@RequireScopes()` stand only where a
 * guard can read them: alone they protect nothing, and the handler is open.
 *
 * @throws ExpiringTokenOptionsError if the class of a guard is registered, or a handler with such a decorator has no guard of its
 * own, of its class or of the application
 */
export function checkRequirements(modules: ModulesContainer, config: ApplicationConfig): void {
  const uncreated = config.getGlobalGuards().find(isGuardClass) as Type | undefined;
  if (uncreated) {
    throw new ExpiringTokenOptionsError(
      'useGlobalGuards',
      `${uncreated.name} is a class and no guard, so Nest 11 skips it, and all routes are open`,
      `Set globalGuard: true, or call app.useGlobalGuards(app.get(${uncreated.name})).`,
    );
  }
  if (hasTokenGuard(modules, config)) return;
  for (const type of classesIn(modules)) {
    const [unguarded] = unguardedMethodsOf(type);
    if (unguarded === undefined) continue;
    const [method, decorator] = unguarded;
    throw new ExpiringTokenOptionsError(
      decorator,
      `no guard protects ${type.name}.${method}`,
      'Add @UseGuards(ExpiringTokenGuard) to the class, or set globalGuard: true.',
    );
  }
}

/** Whether a global guard requires a token. */
function hasTokenGuard(modules: ModulesContainer, config: ApplicationConfig): boolean {
  const providers = [...modules.values()].flatMap((module) => [...module.providers.values()]);
  const providerOf = (instance: unknown) => providers.find((provider) => provider.instance === instance);
  return (
    config.getGlobalGuards().some((guard) => mayRequireToken(guard, providerOf)) ||
    // Nest creates these guards for each request. A factory has no instance before the first one.
    config.getGlobalRequestGuards().some((provider) => mayRequireToken(provider.instance ?? {}, () => provider))
  );
}

/** The classes by which a guard of the application can authenticate a token, and those that return them. */
const AUTHENTICATORS: readonly unknown[] = [
  ExpiringTokenGuard,
  ExpiringTokenService,
  RequestAuthenticator,
  SocketAuthenticator,
  ModuleRef,
  NestApplicationContext,
];

const isAuthenticator = (value: unknown): boolean =>
  AUTHENTICATORS.some((type) => value instanceof (type as Type<unknown>));

/** A test can replace the instance, but not the token. */
const isAuthenticatorProvider = ({ token, instance }: NestProvider): boolean =>
  AUTHENTICATORS.includes(token) || isAuthenticator(instance);

/**
 * Whether a global guard requires a token. A guard that this package does not know counts as one that does if it can: if it has
 * an authenticator, itself or in its providers, and if nothing shows what it has. A throttler cannot.
 */
function mayRequireToken(guard: object, providerOf: (instance: unknown) => NestProvider | undefined): boolean {
  // It rejects no request.
  if (guard instanceof RequestOwner) return false;
  if (guard instanceof GlobalGuard || isAuthenticator(guard) || mayUseStrategy(guard)) return true;
  const provider = providerOf(guard);
  const members = Object.values(guard);
  // A plain object has closures, and a class can keep its parameters in private members.
  if (!provider && (guard.constructor === Object || guard.constructor.length > members.length)) return true;
  const providers = [provider, ...members.filter((member) => typeof member === 'object').map(providerOf)];
  return (
    members.some(isAuthenticator) ||
    providers.some((each) => each !== undefined && findDependency(each, isAuthenticatorProvider).length > 0)
  );
}

/** Whether a guard is an `AuthGuard()` of Passport that uses the strategy of this package, or a list or a default that may contain it. */
function mayUseStrategy(guard: object): boolean {
  if (!('handleRequest' in guard && 'getAuthenticateOptions' in guard)) return false;
  const { _strategies: strategies = {} } = passport as unknown as { _strategies?: object };
  // For one name, AuthGuard() always returns the same class.
  return !Object.keys(strategies).some((name) => name !== STRATEGY_NAME && guard instanceof AuthGuard(name));
}
