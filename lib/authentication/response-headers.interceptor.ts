import {
  type CallHandler,
  type ExecutionContext,
  HttpException,
  Inject,
  Injectable,
  type NestInterceptor,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { catchError, type Observable } from 'rxjs';
import { RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import { type ExpiringTokenErrorCode, ExpiringTokenException } from '../errors/expiring-token.exception.js';
import type { ResolvedOptions } from '../options/resolve-options.js';

/** The `error` of the challenge where a token was presented (RFC 6750 §3.1). */
const CHALLENGE_ERRORS: Partial<Record<ExpiringTokenErrorCode, string>> = {
  token_invalid: 'invalid_token',
  token_expired: 'invalid_token',
  user_inactive: 'invalid_token',
  refresh_invalid: 'invalid_token',
  request_invalid: 'invalid_request',
};

/** What RFC 6750 §3 does not allow in `error_description`: a message of the application could end it, or the header. */
const NOT_IN_DESCRIPTION = /[^\x20\x21\x23-\x5b\x5d-\x7e]/gu;

/** The headers that an error is answered with. A 401 has a challenge, whoever says it (RFC 9110 §15.5.2). */
export function errorHeaders(error: HttpException, realm: string): Record<string, string> {
  const own = error instanceof ExpiringTokenException ? error : undefined;
  const headers: Record<string, string> = {};
  if (own?.retryAfterSeconds !== undefined) headers['Retry-After'] = String(own.retryAfterSeconds);
  const challengeError = own?.presented ? CHALLENGE_ERRORS[own.code] : undefined;
  if (error.getStatus() === 401 || challengeError) {
    const description = error.message.replace(NOT_IN_DESCRIPTION, '?');
    const reason = challengeError ? `, error="${challengeError}", error_description="${description}"` : '';
    headers['WWW-Authenticate'] = `Bearer realm="${realm}"${reason}`;
  }
  return headers;
}

/** Writes the headers of answers, on Express and Fastify alike. As an interceptor, those of the module's own routes. */
@Injectable()
export class ResponseHeadersInterceptor implements NestInterceptor {
  constructor(
    private readonly host: HttpAdapterHost,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
  ) {}

  /** Sets the headers of an error that is about to be answered, whichever filter writes its body. */
  setErrorHeaders(error: unknown, response: unknown): void {
    if (error instanceof HttpException) this.set(response, errorHeaders(error, this.options.realm));
  }

  /** Keeps tokens and devices out of caches (RFC 6749 §5.1). */
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const response: unknown = context.switchToHttp().getResponse();
    this.set(response, { 'Cache-Control': 'no-store', Pragma: 'no-cache' });
    return next.handle().pipe(
      catchError((error: unknown) => {
        this.setErrorHeaders(error, response);
        throw error;
      }),
    );
  }

  private set(response: unknown, headers: Record<string, string>): void {
    for (const [name, value] of Object.entries(headers)) this.host.httpAdapter.setHeader(response, name, value);
  }
}
