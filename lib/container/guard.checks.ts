import * as nest from '@nestjs/common';
import type { Type } from '@nestjs/common';
import {
  type ApplicationConfig,
  MetadataScanner,
  ModuleRef,
  type ModulesContainer,
  NestApplicationContext,
} from '@nestjs/core';
import { AuthGuard } from '@nestjs/passport';
import passport from 'passport';
import { ExpiringTokenGuard } from '../authentication/expiring-token.guard.js';
import { GlobalGuard } from '../authentication/global.guard.js';
import { guardsOf, needOf, unguardedMethodsOf } from '../authentication/handler-requirements.js';
import { RequestAuthenticator } from '../authentication/request-authenticator.js';
import { RequestOwner } from '../authentication/request-owner.js';
import { SocketAuthenticator } from '../authentication/socket-authenticator.js';
import { ExpiringTokenOptionsError } from '../errors/expiring-token-options.error.js';
import { STRATEGY_NAME } from '../expiring-token.constants.js';
import { classesIn, findDependency, isGuardClass, type NestProvider } from './container.checks.js';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';

/** Nest applies global guards to the messages of gateways since version 12, the first one that exports this pipe. */
const GUARDS_REACH_GATEWAYS = 'StandardSchemaValidationPipe' in nest;

/** The metadata keys of `@WebSocketGateway()` and `@SubscribeMessage()`. */
const GATEWAY = 'websockets:is_gateway';
const MESSAGE_HANDLER = 'websockets:message_mapping';

/**
 * Checks that a global guard of this package protects the messages of all gateways.
 *
 * @throws ExpiringTokenOptionsError if Nest does not apply global guards to gateways, and a message has neither a guard of its
 * own nor `@Public()`
 */
export function checkGateways(
  modules: ModulesContainer,
  config: ApplicationConfig,
  guardsReachGateways = GUARDS_REACH_GATEWAYS,
): void {
  if (guardsReachGateways || !config.getGlobalGuards().some(isGuard)) return;
  const mayReadToken = tokenGuardCheck(modules);
  const providers = [...modules.values()].flatMap((module) => [...module.providers.values()]);
  for (const { metatype } of providers) {
    if (typeof metatype !== 'function' || !Reflect.hasMetadata(GATEWAY, metatype)) continue;
    const open = findOpenMessage(metatype as Type, mayReadToken);
    if (open === undefined) continue;
    throw new ExpiringTokenOptionsError(
      'globalGuard',
      `${metatype.name}.${open} would need no token, because Nest 11 applies no global guard to gateways`,
      `Add @UseGuards(ExpiringTokenGuard) to ${metatype.name}, or @Public() if its messages need no token, or use Nest 12.`,
    );
  }
}

const isGuard = (instance: unknown): boolean =>
  instance instanceof GlobalGuard || instance instanceof ExpiringTokenGuard;

/** Returns the name of a method that receives messages and that nothing protects. */
function findOpenMessage(gateway: Type, mayReadToken: (guard: object) => boolean): string | undefined {
  const prototype = gateway.prototype as Record<string, object>;
  return new MetadataScanner().getAllMethodNames(prototype).find((name) => {
    const handler = prototype[name]!;
    const isProtected =
      [...guardsOf(handler), ...guardsOf(gateway)].some((guard) => mayReadToken(guard)) ||
      needOf(handler, gateway) === 'public';
    return Reflect.hasMetadata(MESSAGE_HANDLER, handler) && !isProtected;
  });
}

/**
 * Checks that the guards of `app.useGlobalGuards()` exist, and that `@RequireToken()` and `@RequireScopes()` stand only where a
 * guard can read them: alone they protect nothing, and the handler is open.
 *
 * @throws ExpiringTokenOptionsError if the class of a guard is registered, or a handler with such a decorator has no guard of its
 * own, of its class or of the application
 */
export function checkRequirements(
  modules: ModulesContainer,
  config: ApplicationConfig,
  guardsReachGateways = GUARDS_REACH_GATEWAYS,
): void {
  const uncreated = config.getGlobalGuards().find(isGuardClass) as Type | undefined;
  if (uncreated) {
    throw new ExpiringTokenOptionsError(
      'useGlobalGuards',
      `${uncreated.name} is a class and no guard, so Nest 11 skips it, and all routes are open`,
      `Set globalGuard: true, or call app.useGlobalGuards(app.get(${uncreated.name})).`,
    );
  }
  const mayReadToken = tokenGuardCheck(modules);
  const isGlobal = globalGuardsOf(config).some(([guard, provider]) => mayReadToken(guard, provider));
  for (const type of classesIn(modules)) {
    if (isGlobal && (guardsReachGateways || !Reflect.hasMetadata(GATEWAY, type))) continue;
    const [unguarded] = unguardedMethodsOf(type, (guard) => mayReadToken(guard));
    if (unguarded === undefined) continue;
    const [method, decorator] = unguarded;
    throw new ExpiringTokenOptionsError(
      decorator,
      `no guard protects ${type.name}.${method}`,
      'Add @UseGuards(ExpiringTokenGuard) to the class, or set globalGuard: true.',
    );
  }
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

/** The guards of all routes, as their providers if Nest creates them for each request. */
const globalGuardsOf = (config: ApplicationConfig): [guard: object, provider?: NestProvider][] => [
  ...config.getGlobalGuards().map((guard) => [guard] as [object]),
  // A factory has no instance before the first request.
  ...config.getGlobalRequestGuards().map((provider) => [provider.instance ?? {}, provider] as [object, NestProvider]),
];

/**
 * Returns a function that tells whether a guard can read a token. A guard that this package does not know counts as one that can if
 * it has an authenticator, itself or in its providers, or if nothing shows what it has: a plain object, or an instance that keeps
 * the parameters of its constructor in private members. A throttler cannot.
 */
function tokenGuardCheck(modules: ModulesContainer): (guard: object, provider?: NestProvider) => boolean {
  const providers = [...modules.values()].flatMap((module) => [
    ...module.providers.values(),
    ...module.injectables.values(),
  ]);
  const providerOf = (guard: unknown) =>
    providers.find(({ token, instance }) => (typeof guard === 'function' ? token : instance) === guard);
  const hasAuthenticator = (provider: NestProvider) => findDependency(provider, isAuthenticatorProvider).length > 0;
  return (guard, provider = providerOf(guard)) => {
    if (typeof guard === 'function' && (isGuardClass(guard) || !provider)) return true;
    const instance: object = typeof guard === 'function' ? (provider?.instance ?? {}) : guard;
    // It rejects no request.
    if (instance instanceof RequestOwner) return false;
    if (instance instanceof GlobalGuard || isAuthenticator(instance) || mayUseStrategy(instance)) return true;
    const members = Object.values(instance);
    if (!provider && (instance.constructor === Object || instance.constructor.length > members.length)) return true;
    const ofMembers = members.filter((member) => typeof member === 'object').map(providerOf);
    return (
      members.some(isAuthenticator) ||
      [provider, ...ofMembers].some((each) => each !== undefined && hasAuthenticator(each))
    );
  };
}

/** Whether a guard is an `AuthGuard()` of Passport that uses the strategy of this package, or a list or a default that may contain it. */
function mayUseStrategy(guard: object): boolean {
  if (!('handleRequest' in guard && 'getAuthenticateOptions' in guard)) return false;
  const { _strategies: strategies = {} } = passport as unknown as { _strategies?: object };
  // For one name, AuthGuard() always returns the same class.
  return !Object.keys(strategies).some((name) => name !== STRATEGY_NAME && guard instanceof AuthGuard(name));
}
