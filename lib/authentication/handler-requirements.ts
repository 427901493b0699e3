import type { ExecutionContext, Type } from '@nestjs/common';
import { memoizeByPair } from '../transports/memoize-by-object.js';

/** Metadata key of `@Public()` and `@OptionalToken()`. */
export const OPENING = 'expiring-token:opening';

/** Metadata key of `@RequireToken()`. */
export const TOKEN_REQUIRED = 'expiring-token:token-required';

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
 * `@OptionalToken()` of the same method or class are stronger than the guard beside them, and `@RequireToken()` is stronger
 * than both.
 *
 * `@Public()` and `@OptionalToken()` of a class open the handlers that are written in this class or in a parent class. They do
 * not open those that a subclass adds: its author does not see the decorator, and a guard may protect these handlers.
 *
 * @returns undefined if nothing is declared
 */
export function needOf(handler: object, controller: Type): Need | undefined {
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
  [OPENING, TOKEN_REQUIRED].some((key) => Reflect.hasMetadata(key, handler) || Reflect.hasMetadata(key, controller));

/** The metadata key of `@MessagePattern()` and `@EventPattern()`. */
const MESSAGE_PATTERN = 'microservices:pattern';

/** The metadata keys of the methods of controllers, gateways and resolvers that a client can call. */
const HANDLERS = ['path', 'websockets:message_mapping', 'graphql:resolver_type', 'graphql:resolve_property'];

/**
 * Returns the methods of a class for which `@RequireToken()` of the method or class decides, although neither they nor the
 * class have any guard. The messages of microservices are left out: a hybrid application may give each microservice global
 * guards of its own.
 */
export function unguardedMethodsOf(type: Type): string[] {
  if (hasGuards(type)) return [];
  // A method hides that of a parent class with the same name, so the nearest class comes last.
  const prototypes = [...lineageOf(type)].map(({ prototype }) => prototype as object).toReversed();
  const methods = Object.assign({}, ...prototypes.map(Object.getOwnPropertyDescriptors)) as PropertyDescriptorMap;
  const isOfClass = Reflect.hasMetadata(TOKEN_REQUIRED, type);
  const isRequired = (method: object) =>
    Reflect.hasMetadata(TOKEN_REQUIRED, method) ||
    (isOfClass && HANDLERS.some((key) => Reflect.hasMetadata(key, method)) && needOf(method, type) === 'required');
  return Object.entries(methods)
    .filter(([name, { value }]) => name !== 'constructor' && typeof value === 'function' && isRequired(value as object))
    .filter(([, { value }]) => !hasGuards(value as object) && !Reflect.hasMetadata(MESSAGE_PATTERN, value as object))
    .map(([name]) => name);
}

/** What the guard knows of a handler. */
interface HandlerRequirements {
  readonly need: Need;
  /** Whether the handler has `@Sse()`, so that its response stays open. */
  readonly isEventStream: boolean;
}

const requirementsFor = memoizeByPair<HandlerRequirements>();

/** Returns what the guard knows of a handler. The metadata is read once, and not for each request. */
export const requirementsOf = (handler: object, controller: Type): HandlerRequirements =>
  requirementsFor(handler, controller, () => ({
    need: needOf(handler, controller) ?? 'required',
    isEventStream: Reflect.hasMetadata(EVENT_STREAM, handler),
  }));

/** Whether the handler of a call has `@Sse()`. */
export const isEventStream = (context: ExecutionContext): boolean =>
  context.getType() === 'http' && requirementsOf(context.getHandler(), context.getClass()).isEventStream;

type ReadMetadata = (key: string, target: object) => unknown;

function declaredBy(target: object, read: ReadMetadata, guards: readonly object[]): Need | undefined {
  if (read(TOKEN_REQUIRED, target)) return 'required';
  const opening = read(OPENING, target) as Need | undefined;
  return opening ?? (guards.some(requiresToken) ? 'required' : undefined);
}

const guardsOf = (target: object): readonly object[] =>
  (Reflect.getMetadata(GUARDS, target) as object[] | undefined) ?? [];

/** Whether `@UseGuards()` stands on a method or a class. */
export const hasGuards = (target: object): boolean => guardsOf(target).length > 0;

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
