import type { ExecutionContext, Type } from '@nestjs/common';
import { memoizeByPair } from '../transports/memoize-by-object.js';

/** Metadata key of `@Public()` and `@OptionalToken()`. */
export const OPENING = 'expiring-token:opening';

/** Metadata key of `@RequireToken()`. */
export const TOKEN_REQUIRED = 'expiring-token:token-required';

/** Metadata key of `@RequireLogin()`. */
export const LOGIN_REQUIRED = 'expiring-token:login-required';

/** Metadata key of `@RequireScopes()` and `@RequireAnyScope()`, whose value is {@link RequiredScopes}. */
export const SCOPES_REQUIRED = 'expiring-token:scopes-required';

/** The decorators that require a token, and more, by their metadata keys. */
const REQUIREMENTS: Readonly<Record<string, string>> = {
  [TOKEN_REQUIRED]: '@RequireToken()',
  [LOGIN_REQUIRED]: '@RequireLogin()',
  [SCOPES_REQUIRED]: '@RequireScopes()',
};

/** A token needs one scope of each list. */
export type RequiredScopes = readonly (readonly string[])[];

/** Metadata key of a guard that requires a token. Subclasses of the guard inherit it. */
export const TOKEN_GUARD = 'expiring-token:guard';

/** The metadata key of `@UseGuards()`. */
const GUARDS = '__guards__';

/** The metadata key of `@Sse()`. */
const EVENT_STREAM = '__sse__';

/** What a handler needs: a token; a valid token or none; nothing, so that no token is read. */
export type Need = 'required' | 'optional' | 'public';

/**
 * Returns what a handler needs, by the nearest declaration: that of the method, then that of the class, then those of its parent
 * classes. A guard that stands on a method or a class declares that a token is required there. `@Public()` and
 * `@OptionalToken()` of the same method or class are stronger than the guard beside them, and `@RequireToken()`,
 * `@RequireLogin()` and `@RequireScopes()` are stronger than both.
 *
 * `@Public()` and `@OptionalToken()` of a class open the handlers that are written in this class or in a parent class. They do
 * not open those that a subclass adds: its author does not see the decorator, and a guard may protect these handlers.
 *
 * Scopes of any class apply wherever a token is read, so `@OptionalToken()` of a method does not make a request without a token
 * acceptable there.
 *
 * @returns undefined if nothing is declared
 */
export function needOf(handler: object, controller: Type): Need | undefined {
  const need = nearestNeed(handler, controller);
  return need === 'optional' && scopesOf(handler, controller).length > 0 ? 'required' : need;
}

function nearestNeed(handler: object, controller: Type): Need | undefined {
  const need = declaredBy(handler, Reflect.getMetadata, guardsOf(handler));
  if (need) return need;
  const author = authorOf(handler, controller);
  let isAbove = false;
  for (const type of lineageOf(controller)) {
    const declared = declaredBy(type, Reflect.getOwnMetadata, guardsAddedBy(type));
    if (declared === 'required' || (declared && !isAbove)) return declared;
    isAbove ||= type === author;
  }
  return undefined;
}

/** Whether a decorator of this package states what a handler needs. A guard alone does not count. */
export const isStated = (handler: object, controller: Type): boolean =>
  [OPENING, ...Object.keys(REQUIREMENTS)].some(
    (key) => Reflect.hasMetadata(key, handler) || Reflect.hasMetadata(key, controller),
  );

/** The metadata key of `@MessagePattern()` and `@EventPattern()`. */
const MESSAGE_PATTERN = 'microservices:pattern';

/** The metadata keys of the methods of controllers, gateways and resolvers that a client can call. */
const HANDLERS = ['path', 'websockets:message_mapping', 'graphql:resolver_type', 'graphql:resolve_property'];

/** The methods of a class, by name. A method hides that of a parent class with the same name. */
function methodsOf(type: Type): [name: string, method: object][] {
  // The nearest class comes last.
  const prototypes = [...lineageOf(type)].map(({ prototype }) => prototype as object).toReversed();
  const descriptors = Object.assign({}, ...prototypes.map(Object.getOwnPropertyDescriptors)) as PropertyDescriptorMap;
  return Object.entries(descriptors)
    .filter(([name, { value }]) => name !== 'constructor' && typeof value === 'function')
    .map(([name, { value }]) => [name, value as object]);
}

/**
 * Returns the methods of a class for which a decorator that requires a token decides, on the method or class, although neither
 * they nor the class have a guard that can read a token, each with its decorator. The messages of microservices are left out: a
 * hybrid application may give each microservice global guards of its own.
 *
 * @param mayReadToken - whether a guard, as `@UseGuards()` takes it, can read a token
 */
export function unguardedMethodsOf(
  type: Type,
  mayReadToken: (guard: object) => boolean,
): [method: string, decorator: string][] {
  const ofClass = decoratorOf(type);
  const decoratorFor = (method: object): string | undefined => {
    const isHandler = () => HANDLERS.some((key) => Reflect.hasMetadata(key, method));
    return decoratorOf(method) ?? (ofClass && isHandler() && needOf(method, type) === 'required' ? ofClass : undefined);
  };
  return methodsOf(type)
    .filter(([, method]) => !Reflect.hasMetadata(MESSAGE_PATTERN, method))
    .map(([name, method]) => ({ name, method, decorator: decoratorFor(method) }))
    .filter(({ method, decorator }) => decorator && ![...guardsOf(type), ...guardsOf(method)].some(mayReadToken))
    .map(({ name, decorator }) => [name, decorator!]);
}

/** The name of a decorator that requires a token of this method or class; undefined if it has none. */
const decoratorOf = (target: object): string | undefined =>
  Object.entries(REQUIREMENTS).find(([key]) => Reflect.hasMetadata(key, target))?.[1];

/** The scopes that decorators of a class and its methods name, each with its place. They can be any values in JavaScript. */
export function namedScopesOf(type: Type): [place: string, scope: unknown][] {
  const ofClass = [...lineageOf(type)].flatMap(declaredScopes);
  return [
    ...ofClass.flat().map((scope) => [type.name, scope] as [string, unknown]),
    ...methodsOf(type).flatMap(([name, method]) =>
      declaredScopes(method)
        .flat()
        .map((scope) => [`${type.name}.${name}`, scope] as [string, unknown]),
    ),
  ];
}

const declaredScopes = (target: object): RequiredScopes =>
  (Reflect.getOwnMetadata(SCOPES_REQUIRED, target) as RequiredScopes | undefined) ?? [];

/** The scopes that a handler asks for: those of the method, of its class and of the parent classes add up. */
const scopesOf = (handler: object, controller: Type): RequiredScopes =>
  [handler, ...lineageOf(controller)].flatMap(declaredScopes);

/** What the guard knows of a handler. */
export interface HandlerRequirements {
  readonly need: Need;
  /** Whether a personal token is rejected. It is, if the method, its class or a parent class says so. */
  readonly requiresLogin: boolean;
  /** The scopes that a token needs; none if the handler needs no token. */
  readonly scopes: RequiredScopes;
  /** Whether the handler has `@Sse()`, so that its response stays open. */
  readonly isEventStream: boolean;
}

const requirementsFor = memoizeByPair<HandlerRequirements>();

/** Returns what the guard knows of a handler. The metadata is read once, and not for each request. */
export const requirementsOf = (handler: object, controller: Type): HandlerRequirements =>
  requirementsFor(handler, controller, () => {
    const need = needOf(handler, controller) ?? 'required';
    const scopes = need === 'public' ? [] : scopesOf(handler, controller);
    const requiresLogin = [handler, controller].some((target) => Reflect.hasMetadata(LOGIN_REQUIRED, target));
    return { need, requiresLogin, scopes, isEventStream: Reflect.hasMetadata(EVENT_STREAM, handler) };
  });

/** Whether the handler of a call has `@Sse()`. */
export const isEventStream = (context: ExecutionContext): boolean =>
  context.getType() === 'http' && requirementsOf(context.getHandler(), context.getClass()).isEventStream;

type ReadMetadata = (key: string, target: object) => unknown;

function declaredBy(target: object, read: ReadMetadata, guards: readonly object[]): Need | undefined {
  if (Object.keys(REQUIREMENTS).some((key) => read(key, target))) return 'required';
  const opening = read(OPENING, target) as Need | undefined;
  return opening ?? (guards.some(requiresToken) ? 'required' : undefined);
}

/** The guards that `@UseGuards()` names on a method, or on a class and its parent classes. */
export const guardsOf = (target: object): readonly object[] =>
  (Reflect.getMetadata(GUARDS, target) as object[] | undefined) ?? [];

/** The guards of a class itself. Nest copies those of its parent class in front of them. */
function guardsAddedBy(type: object): readonly object[] {
  if (!Reflect.hasOwnMetadata(GUARDS, type)) return [];
  return guardsOf(type).slice(guardsOf(Object.getPrototypeOf(type) as object).length);
}

/** `@UseGuards()` takes classes and instances. */
const requiresToken = (guard: object): boolean =>
  Reflect.hasMetadata(TOKEN_GUARD, typeof guard === 'function' ? guard : guard.constructor);

/** A class and its parent classes, the nearest first. */
function* lineageOf(controller: Type): Iterable<Type> {
  for (
    let type: unknown = controller;
    typeof type === 'function' && type.prototype;
    type = Object.getPrototypeOf(type)
  ) {
    yield type as Type;
  }
}

/** The class in which a handler is written. A handler that something replaced counts as one of the controller itself. */
function authorOf(handler: object, controller: Type): Type {
  const isWrittenIn = ({ prototype }: { prototype: object }) =>
    Object.values(Object.getOwnPropertyDescriptors(prototype)).some(({ value }) => value === handler);
  return [...lineageOf(controller)].find(isWrittenIn) ?? controller;
}
