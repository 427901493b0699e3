import { STATUS_CODES } from 'node:http';
import { HttpException } from '@nestjs/common';

/** Every refusal this package answers: its HTTP status and its message, which is the same for every cause of it. */
const ERRORS = {
  token_missing: [401, 'Authentication credentials were not provided'],
  token_invalid: [401, 'Invalid token'],
  token_expired: [401, 'Token has expired'],
  user_inactive: [401, 'User inactive or deleted'],
  request_invalid: [400, 'Invalid request'],
  credentials_invalid: [401, 'Unable to log in with provided credentials'],
  validation_failed: [400, 'Validation failed'],
  refresh_invalid: [401, 'Invalid refresh token'],
  limit_reached: [403, 'Too many devices'],
  throttled: [429, 'Too many login attempts'],
  device_not_found: [404, 'Device not found'],
  unavailable: [503, 'Authentication is temporarily unavailable'],
} as const;

/** When to ask again after a 503: an outage is over for us within a second of its end. */
const UNAVAILABLE_SECONDS = 1;

/** The `code` of an {@link ExpiringTokenException}: stable, for programs to read. */
export type ExpiringTokenErrorCode = keyof typeof ERRORS;

/** Every code. */
export const ERROR_CODES = Object.keys(ERRORS) as readonly ExpiringTokenErrorCode[];

/**
 * Every refusal of this package. Nest answers it with its status and the body
 * `{ statusCode, error, message, code }`.
 *
 * It never holds a token, a digest, a password or a driver's error: whatever logs it logs no secret.
 */
export class ExpiringTokenException extends HttpException {
  /** What went wrong. */
  readonly code: ExpiringTokenErrorCode;
  /** Whether a credential was presented, which a challenge then says something about (RFC 6750 §3.1). */
  readonly presented: boolean;

  /** When it is worth asking again, in whole seconds: the header `Retry-After`. */
  readonly retryAfterSeconds: number | undefined;

  /**
   * @param code - what went wrong
   * @param overrides - a message that says more than the usual one, of which the challenge has those characters that
   * RFC 6750 §3 allows in `error_description`; another status; false where nothing was presented; when to ask again
   */
  constructor(
    code: ExpiringTokenErrorCode,
    overrides: { message?: string; statusCode?: number; presented?: boolean; retryAfterSeconds?: number } = {},
  ) {
    const [usualStatus, usualMessage] = ERRORS[code];
    const { statusCode = usualStatus, message = usualMessage } = overrides;
    super({ statusCode, error: STATUS_CODES[statusCode], message, code }, statusCode);
    this.code = code;
    this.presented = overrides.presented ?? true;
    this.retryAfterSeconds = overrides.retryAfterSeconds ?? (code === 'unavailable' ? UNAVAILABLE_SECONDS : undefined);
  }
}
