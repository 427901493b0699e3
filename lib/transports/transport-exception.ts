import { HttpException } from '@nestjs/common';
import { type ExpiringTokenErrorCode, ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { exceptionOf } from './connection.js';

/**
 * A refusal as GraphQL tells it. Its body has no `statusCode`: by that Apollo's driver knows an HTTP exception, and puts codes
 * of its own in place of ours.
 */
class GraphqlException extends HttpException {
  /** Of the error in the answer. */
  readonly extensions: { code: ExpiringTokenErrorCode };

  constructor(cause: ExpiringTokenException) {
    const { message, code } = cause;
    super({ message, code }, cause.getStatus(), { cause });
    this.extensions = { code };
  }
}

/** An error in the form of a transport: of a context's type. */
export async function toTransportException(error: unknown, type: string): Promise<unknown> {
  if (!(error instanceof ExpiringTokenException)) return error;
  if (type === 'graphql') return new GraphqlException(error);
  if (type !== 'ws') return error;
  // Optional, and there where there are gateways.
  const { WsException } = await import('@nestjs/websockets');
  return new WsException(exceptionOf(error));
}
