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
import { type ExpiringTokenErrorCode, ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { isScopeToken } from '../options/scopes.js';

/** RFC 6750 §3.1: the `error` of the challenge for a request that presented a token. */
const CHALLENGE_ERRORS: Partial<Record<ExpiringTokenErrorCode, string>> = {
  token_invalid: 'invalid_token',
  token_expired: 'invalid_token',
  user_inactive: 'invalid_token',
  refresh_invalid: 'invalid_token',
  request_invalid: 'invalid_request',
  scope_insufficient: 'insufficient_scope',
};

/**
 * RFC 6750 §3: characters that `error_description` must not contain. An exception of the application may have any message,
 * and a quotation mark in it would end the description and could add parameters to the challenge.
 */
const NOT_IN_DESCRIPTION = /[^\x20\x21\x23-\x5b\x5d-\x7e]/gu;

/** The options that shape a challenge. */
type ChallengeOptions = Pick<ResolvedOptions, 'realm' | 'resourceMetadata'>;

/** Returns the headers of the response to an error. Every 401 has a challenge (RFC 9110 §15.5.2), even one of the application. */
export function errorHeaders(
  error: HttpException,
  { realm, resourceMetadata }: ChallengeOptions,
): Record<string, string> {
  const exception = error instanceof ExpiringTokenException ? error : undefined;
  const headers: Record<string, string> = {};
  if (exception?.retryAfterSeconds !== undefined) headers['Retry-After'] = String(exception.retryAfterSeconds);
  const challengeError = exception?.presented ? CHALLENGE_ERRORS[exception.code] : undefined;
  if (error.getStatus() === 401 || challengeError) {
    const reason = challengeError ? `, error="${challengeError}"${detailsOf(exception!)}` : '';
    // RFC 9728 §5.1: where a client, for example one of MCP, learns how to obtain a token.
    const metadata = resourceMetadata === null ? '' : `, resource_metadata="${resourceMetadata}"`;
    headers['WWW-Authenticate'] = `Bearer realm="${realm}"${metadata}${reason}`;
  }
  return headers;
}

/** The parameters of a challenge behind its `error`: the required scopes if they are known, else a description. */
function detailsOf({ message, scopes }: ExpiringTokenException): string {
  if (scopes) return `, scope="${scopes.filter(isScopeToken).join(' ')}"`;
  return `, error_description="${message.replace(NOT_IN_DESCRIPTION, '?')}"`;
}

/** Sets the headers of responses, on Express and Fastify. The routes of this package use it as their interceptor. */
@Injectable()
export class ResponseHeadersInterceptor implements NestInterceptor {
  constructor(
    private readonly host: HttpAdapterHost,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
  ) {}

  /** Sets the headers for an error before an exception filter writes the body. */
  setErrorHeaders(error: unknown, response: unknown): void {
    if (error instanceof HttpException) this.setHeaders(response, errorHeaders(error, this.options));
  }

  /** Forbids caches to store a response with tokens or devices (RFC 6749 §5.1). */
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const response: unknown = context.switchToHttp().getResponse();
    this.setHeaders(response, { 'Cache-Control': 'no-store', Pragma: 'no-cache' });
    return next.handle().pipe(
      catchError((error: unknown) => {
        this.setErrorHeaders(error, response);
        throw error;
      }),
    );
  }

  private setHeaders(response: unknown, headers: Record<string, string>): void {
    for (const [name, value] of Object.entries(headers)) this.host.httpAdapter.setHeader(response, name, value);
  }
}
