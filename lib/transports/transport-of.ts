import type { ExecutionContext } from '@nestjs/common';
import { graphqlTransport } from './graphql.transport.js';
import { httpTransport } from './http.transport.js';
import type { HttpRequest } from './http-request.js';
import { rememberedRequest } from './call-requests.js';
import { rpcTransport } from './rpc.transport.js';
import type { Transport } from './transport.interface.js';
import { webSocketTransport } from './websocket.transport.js';

/** By the type of the context: those whose contexts contain a request. Add a transport here, and nowhere else. */
const TRANSPORTS: ReadonlyMap<string, Transport> = new Map([
  ['http', httpTransport],
  ['graphql', graphqlTransport],
  ['ws', webSocketTransport],
]);

/** A subclass of the guard can still support the type: it overrides `getRequest`, which is the only method that fails here. */
const unknownTransport = (type: string): Transport => ({
  getRequest() {
    throw new Error(`ExpiringTokenGuard: ${type} is not supported. Override getRequest for it.`);
  },
  getResponse: () => undefined,
  toException: async (error) => error,
});

/** Returns the transport of a handler call. */
export function transportOf(context: ExecutionContext): Transport {
  const type: string = context.getType();
  return TRANSPORTS.get(type) ?? (type === 'rpc' ? rpcTransport : unknownTransport(type));
}

/**
 * Returns the request of a handler call for the decorators of its parameters: the one that the guard authenticated, if a
 * subclass of the guard returned one; undefined if the context contains none.
 */
export const findRequest = (context: ExecutionContext): HttpRequest | undefined =>
  rememberedRequest(context) ?? TRANSPORTS.get(context.getType())?.getRequest(context);
