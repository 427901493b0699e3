import { Logger } from '@nestjs/common';
import { escapeForLog } from './describe-error.js';

/**
 * Writes the log lines of the package. Each line is escaped as a whole, because ids, addresses and messages of other software can
 * contain text of a client, which must not end a line or disguise it.
 */
export class PackageLogger extends Logger {
  constructor() {
    super('ExpiringToken');
  }

  override error(line: string): void {
    super.error(escapeForLog(line));
  }

  override warn(line: string): void {
    super.warn(escapeForLog(line));
  }

  override log(line: string): void {
    super.log(escapeForLog(line));
  }

  override debug(line: string): void {
    super.debug(escapeForLog(line));
  }
}
