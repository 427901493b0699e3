import { createHmac, randomBytes } from 'node:crypto';
import { HttpException, Injectable } from '@nestjs/common';
import { PackageLogger } from '../errors/package.logger.js';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import type { HttpRequest } from '../transports/http-request.js';

/** Whom a log line about a refused attempt is about. `name` is a user name as {@link nameInLog} returns it, for an attempt whose user is unknown. */
export type LogSubject = { userId?: string; deviceId?: string; name?: string };

/** Only this process knows the key: with a plain hash, whoever reads the log could find a weak password by trying words. */
const NAME_KEY = randomBytes(32);

/**
 * Returns the start of an HMAC of a user name: within a process the same name gives the same text. Log lines do not contain the
 * name itself, because people sometimes type their password into the field of the user name.
 */
export const nameInLog = (username: string): string =>
  `hmac:${createHmac('sha256', NAME_KEY).update(username).digest('hex').slice(0, 16)}`;

/**
 * Logs how each attempt to authenticate ended, which user it concerned, and from which address it came. Log lines never contain a
 * token or a part of one.
 */
@Injectable()
export class AuthenticationLogger {
  private readonly logger = new PackageLogger();

  /**
   * Logs an attempt that succeeded, at level `log`.
   *
   * @param action - the first word of the line, for example `Login`
   * @param ids - for example a token, of which nothing else is logged
   */
  accepted(action: string, request: HttpRequest, { userId, deviceId }: { userId: string; deviceId?: string }): void {
    this.logger.log(this.line(`${action} accepted`, request, { userId, deviceId }));
  }

  /** Logs an attempt that was answered with an HTTP error, at level `log`. Any other error is not an answer to the client. */
  refused(action: string, request: HttpRequest, error: unknown, subject: LogSubject = {}): void {
    if (!(error instanceof HttpException)) return;
    this.logger.log(this.line(`${action} refused`, request, { ...codeOf(error), ...subject }));
  }

  /**
   * Logs a refused token, at level `debug` because clients with expired tokens are frequent.
   *
   * @param token - a valid one, which may not do what the request asks for
   */
  tokenRefused(request: HttpRequest, error: unknown, token?: { userId: string; deviceId: string }): void {
    if (!(error instanceof HttpException)) return;
    const { userId, deviceId } = token ?? {};
    this.logger.debug(this.line('Token refused', request, { ...codeOf(error), userId, deviceId }));
  }

  private line(message: string, { ip }: HttpRequest, details: object): string {
    return `${message}: ${JSON.stringify({ ...details, address: ip })}`;
  }
}

const codeOf = (error: HttpException) =>
  error instanceof ExpiringTokenException ? { code: error.code } : { status: error.getStatus() };
