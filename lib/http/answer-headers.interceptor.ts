import { type CallHandler, type ExecutionContext, Inject, Injectable, type NestInterceptor } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { catchError, type Observable } from 'rxjs';
import { RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import { type ExpiringTokenErrorCode, ExpiringTokenException } from '../expiring-token.exception.js';
import type { ResolvedOptions } from '../expiring-token.resolved-options.js';

/** The `error` of the challenge where a token was presented (RFC 6750 §3.1). */
const CHALLENGE_ERRORS: Partial<Record<ExpiringTokenErrorCode, string>> = {
  token_invalid: 'invalid_token',
  token_expired: 'invalid_token',
  user_inactive: 'invalid_token',
  refresh_invalid: 'invalid_token',
  request_invalid: 'invalid_request',
};

/** The headers that an error is answered with. */
export function errorHeaders(error: ExpiringTokenException, realm: string): Record<string, string> {
  if (error.retryAfterSeconds !== undefined) return { 'Retry-After': String(error.retryAfterSeconds) };
  const challengeError = error.presented ? CHALLENGE_ERRORS[error.code] : undefined;
  if (error.getStatus() !== 401 && !challengeError) return {};
  const reason = challengeError ? `, error="${challengeError}", error_description="${error.message}"` : '';
  return { 'WWW-Authenticate': `Bearer realm="${realm}"${reason}` };
}

/** Writes the headers of answers, on Express and Fastify alike. As an interceptor, those of the module's own routes. */
@Injectable()
export class AnswerHeaders implements NestInterceptor {
  constructor(
    private readonly host: HttpAdapterHost,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
  ) {}

  /** Sets the headers of an error that is about to be answered, whichever filter writes its body. */
  ofError(error: unknown, response: unknown): void {
    if (error instanceof ExpiringTokenException) this.set(response, errorHeaders(error, this.options.realm));
  }

  /** Keeps tokens and devices out of caches (RFC 6749 §5.1). */
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const response: unknown = context.switchToHttp().getResponse();
    this.set(response, { 'Cache-Control': 'no-store', Pragma: 'no-cache' });
    return next.handle().pipe(
      catchError((error: unknown) => {
        this.ofError(error, response);
        throw error;
      }),
    );
  }

  private set(response: unknown, headers: Record<string, string>): void {
    for (const [name, value] of Object.entries(headers)) this.host.httpAdapter.setHeader(response, name, value);
  }
}
