import type { ExecutionContext } from '@nestjs/common';
import type { HttpRequest } from './http-request.js';

/** What differs between HTTP, GraphQL and gateways. One file implements it for each type of {@link ExecutionContext}. */
export interface Transport {
  /**
   * Returns the request that is authenticated before the handler runs: for an HTTP route or a GraphQL operation the HTTP
   * request, for a connection that stays open its `Handshake`. The same handler call always gets the same object.
   *
   * @throws Error if the context does not contain a request
   */
  getRequest(context: ExecutionContext): HttpRequest;

  /** Returns the HTTP response if its headers can still be set, and otherwise undefined. */
  getResponse(context: ExecutionContext): unknown;

  /** Returns an error in the form that this transport sends to its clients. Returns an error of another package unchanged. */
  toException(error: unknown): Promise<unknown>;
}
