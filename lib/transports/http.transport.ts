import type { Transport } from './transport.interface.js';

/** Routes of controllers, on Express and Fastify. Nest sends an `ExpiringTokenException` without further conversion. */
export const httpTransport: Transport = {
  getRequest: (context) => context.switchToHttp().getRequest(),
  getResponse: (context) => context.switchToHttp().getResponse(),
  toException: async (error) => error,
};
