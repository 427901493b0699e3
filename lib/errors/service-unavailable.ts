import { HttpException } from '@nestjs/common';
import { classifyDriverError } from './driver-errors.js';
import { PackageLogger } from './package.logger.js';
import { ExpiringTokenException } from './expiring-token.exception.js';
import { describeError } from './describe-error.js';

const logger = new PackageLogger();

/**
 * Runs work that uses the database or the application's user store. A failure becomes 503 `unavailable` and never 401, which
 * would make a client discard its token (RFC 9110 §15.6.4). An `HttpException` is rethrown unchanged.
 */
export const orUnavailable = <T>(work: () => Promise<T>): Promise<T> => work().catch(rethrowAsUnavailable);

/** Logs an error and throws the exception that {@link orUnavailable} replaces it by. */
export function rethrowAsUnavailable(error: unknown): never {
  if (error instanceof HttpException) throw error;
  const isAway = ['outage', 'lost', 'readonly'].includes(classifyDriverError(error));
  logger.error(`Answering 503${isAway ? ', the database is away' : ''}: ${describeError(error)}`);
  throw new ExpiringTokenException('unavailable');
}
