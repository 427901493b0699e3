import { createHash } from 'node:crypto';
import { HttpException, Injectable, Logger } from '@nestjs/common';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { escapeForLog } from '../errors/describe-error.js';
import type { HttpRequest } from '../transports/http-request.js';

/** Who is meant: ids of what was found, or of a user name what cannot be read. A password is typed into its field now and then. */
export type Subject = { userId?: string; deviceId?: string; name?: string };

/** A user name by its SHA-256, cut: the same for the same name. */
export const nameInLog = (username: string): string =>
  `sha256:${createHash('sha256').update(username).digest('hex').slice(0, 16)}`;

/** Writes down how attempts to be let in ended, with who and from where; when is the logger's. Tokens appear in no form. */
@Injectable()
export class AuthenticationLogger {
  private readonly logger = new Logger('ExpiringToken');

  /**
   * Makes an attempt. How it ended is logged at level `log`.
   *
   * @param what - begins the line: `Login`
   * @param subject - of an attempt that succeeded; before that, what is known of it
   */
  async attempt<T>(
    what: string,
    request: HttpRequest,
    subject: (result?: T) => Subject,
    make: () => Promise<T>,
  ): Promise<T> {
    try {
      const result = await make();
      this.logger.log(this.line(`${what} accepted`, request, subject(result)));
      return result;
    } catch (error) {
      if (error instanceof HttpException) {
        this.logger.log(this.line(`${what} refused`, request, { ...codeOf(error), ...subject() }));
      }
      throw error;
    }
  }

  /** A token that was refused, at level `debug`: clients with old tokens are many. */
  refused(request: HttpRequest, error: unknown): void {
    if (error instanceof HttpException) this.logger.debug(this.line('Token refused', request, codeOf(error)));
  }

  private line(what: string, { ip }: HttpRequest, details: object): string {
    return escapeForLog(`${what}: ${JSON.stringify({ ...details, address: ip })}`);
  }
}

const codeOf = (error: HttpException) =>
  error instanceof ExpiringTokenException ? { code: error.code } : { status: error.getStatus() };
