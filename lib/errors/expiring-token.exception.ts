import { STATUS_CODES } from 'node:http';
import { HttpException } from '@nestjs/common';

/**
 * HTTP status and message of each code. Codes that say something about a user or a token have one message for every cause, so
 * that a client cannot learn, for example, whether a user name exists. Only errors in the form of a request name the cause.
 */
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
  scope_insufficient: [403, 'The token lacks a required scope'],
  login_required: [403, 'A personal token is not accepted here'],
  throttled: [429, 'Too many login attempts'],
  device_not_found: [404, 'Device not found'],
  token_not_found: [404, 'Token not found'],
  unavailable: [503, 'Authentication is temporarily unavailable'],
} as const;

/** `Retry-After` of a 503: the package works again within a second after the end of an outage. */
const UNAVAILABLE_SECONDS = 1;

/** The `code` of an {@link ExpiringTokenException}: a stable identifier for clients. */
export type ExpiringTokenErrorCode = keyof typeof ERRORS;

/** Every code. */
export const ERROR_CODES = Object.keys(ERRORS) as readonly ExpiringTokenErrorCode[];

/**
 * The exception that this package throws. Nest answers with its status and the body `{ statusCode, error, message, code }`.
 *
 * It never contains a token, a digest, a password or a driver's error, so it can be logged without leaking a secret.
 */
export class ExpiringTokenException extends HttpException {
  /** What went wrong. */
  readonly code: ExpiringTokenErrorCode;

  /** Whether the request had a token. Only then does the challenge contain an error code (RFC 6750 §3.1). */
  readonly presented: boolean;

  /** The scopes that a handler asks for, with the code `scope_insufficient`. */
  readonly scopes: readonly string[] | undefined;

  /** Value of the header `Retry-After`, in whole seconds; undefined for none. */
  readonly retryAfterSeconds: number | undefined;

  /**
   * @param code - what went wrong
   * @param overrides - `message`, a more precise message (the challenge contains only the characters of it that RFC 6750 §3
   * allows in `error_description`); `statusCode`, another status; `presented: false` if the request had no token;
   * `retryAfterSeconds`, the header `Retry-After`; `scopes`, the required ones, for the challenge of `scope_insufficient`
   */
  constructor(
    code: ExpiringTokenErrorCode,
    overrides: {
      message?: string;
      statusCode?: number;
      presented?: boolean;
      retryAfterSeconds?: number;
      scopes?: readonly string[];
    } = {},
  ) {
    const [defaultStatus, defaultMessage] = ERRORS[code];
    const { statusCode = defaultStatus, message = defaultMessage } = overrides;
    super({ statusCode, error: STATUS_CODES[statusCode], message, code }, statusCode);
    this.code = code;
    this.presented = overrides.presented ?? true;
    this.scopes = overrides.scopes;
    this.retryAfterSeconds = overrides.retryAfterSeconds ?? (code === 'unavailable' ? UNAVAILABLE_SECONDS : undefined);
  }
}
