import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { exceptionPayload } from './connection.js';
import type { Transport } from './transport.interface.js';

/** Messages of microservices. Their transports have no header in common, so the application says where its token is. */
export const rpcTransport: Transport = {
  getRequest() {
    throw new Error(
      'ExpiringTokenGuard: a message of a microservice has no place for a token that all transports share. Extend the guard, ' +
        'and override getRequest: return { headers: { authorization } } with the value from the message. See docs/microservices.md.',
    );
  },

  getResponse: () => undefined,

  async toException(error) {
    if (!(error instanceof ExpiringTokenException)) return error;
    // An optional peer. It is installed in an application that has microservices.
    const { RpcException } = await import('@nestjs/microservices');
    return new RpcException(exceptionPayload(error));
  },
};
