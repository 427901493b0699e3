import type { ExecutionContext } from '@nestjs/common';
import type { HttpRequest } from './http-request.js';

/** By an object that only this call of a handler has: the request that a subclass of the guard returned for it. */
const requests = new WeakMap<object, HttpRequest>();

/** Remembers the request of a handler call, which the parameter decorators of the handler read. */
export function rememberRequest(context: ExecutionContext, request: HttpRequest): void {
  const key = keyOf(context);
  if (key) requests.set(key, request);
}

/** Returns the request that was remembered for a handler call. */
export function rememberedRequest(context: ExecutionContext): HttpRequest | undefined {
  const key = keyOf(context);
  return key && requests.get(key);
}

/**
 * Guard and decorators of one call get different contexts. Of their arguments, this one is the same object for both, and
 * another object for another call: the request; the `info` of a resolver; the data of a message of a gateway, whose client has
 * several messages at the same time; the context of a microservice's message, or else its data.
 */
function keyOf(context: ExecutionContext): object | undefined {
  const args: unknown[] = context.getArgs();
  const type: string = context.getType();
  const candidates = { http: [args[0]], graphql: [args.at(-1)], ws: [args[1]] }[type] ?? [args[1], args[0]];
  return candidates.find((each): each is object => typeof each === 'object' && each !== null);
}
