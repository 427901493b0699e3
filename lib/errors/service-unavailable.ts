import { HttpException, Logger } from '@nestjs/common';
import { classifyDriverError } from './driver-errors.js';
import { ExpiringTokenException } from './expiring-token.exception.js';
import { describeError } from './describe-error.js';

const logger = new Logger('ExpiringToken');

/**
 * Makes a failure of the database, or of the application's user store, an answer of 503 and never one of 401: a client
 * keeps its token and tries again (RFC 9110 §15.6.4). What is an HTTP answer already passes as it is.
 */
export const orUnavailable = <T>(work: () => Promise<T>): Promise<T> => work().catch(rethrowAsUnavailable);

/** What {@link orUnavailable} makes of an error. */
export function rethrowAsUnavailable(error: unknown): never {
  if (error instanceof HttpException) throw error;
  const isAway = ['outage', 'lost'].includes(classifyDriverError(error));
  logger.error(`Answering 503${isAway ? ', the database is away' : ''}: ${describeError(error)}`);
  throw new ExpiringTokenException('unavailable');
}
