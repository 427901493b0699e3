import { Inject, Injectable } from '@nestjs/common';
import { retry } from '../async/retry.js';
import { withTimeout } from '../async/with-timeout.js';
import type { Database, TransactionScript } from '../database/database.js';
import { classifyDriverError } from '../errors/driver-errors.js';
import { orUnavailable } from '../errors/service-unavailable.js';
import { DATABASE, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { type Emit, TokenEvents } from './events/token.events.js';
import { TokenChanges } from './token-changes.js';

/** Makes the statements of a transaction. It is called again for each attempt, and what it emits is sent after the commit. */
export type UserScript<T> = (emit: Emit) => TransactionScript<T>;

/**
 * Runs a script in one transaction under the lock of a user: what it reads stays true until it ends, in every process. Then
 * publishes that the user's tokens changed, and emits the events.
 */
@Injectable()
export class UserTransactions {
  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(DATABASE) private readonly database: Database,
    private readonly changes: TokenChanges,
    private readonly events: TokenEvents,
  ) {}

  /**
   * Runs a script within the time limit of the option `timeout`. After the limit nothing is committed any more, because the
   * caller was answered that it failed.
   *
   * @param duplicate - the error if a unique key is taken. Without it the keys are random ids, and the script runs again
   * @throws ExpiringTokenException `unavailable`
   */
  run<T>(userId: string, script: UserScript<T>, duplicate?: () => Error): Promise<T> {
    return orUnavailable(() =>
      withTimeout(this.options.timeoutMs, (signal) => this.runUntil(signal, userId, script, duplicate)),
    );
  }

  /** {@link run} as a part of work that has a time limit already. */
  async runUntil<T>(signal: AbortSignal, userId: string, script: UserScript<T>, duplicate?: () => Error): Promise<T> {
    let events: Parameters<Emit>[] = [];
    const attempt = () => {
      // Of an attempt that was rolled back nothing is emitted.
      events = [];
      return script((...event) => events.push(event));
    };
    const transact = () => this.database.transaction(userId, attempt, signal);
    let result: T;
    try {
      result = await (duplicate ? transact() : retry(transact, ['duplicate'], signal));
    } catch (error) {
      throw duplicate && classifyDriverError(error) === 'duplicate' ? duplicate() : error;
    } finally {
      // Even if it failed: the commit may have succeeded although its answer was lost.
      await this.changes.publish(userId);
    }
    for (const event of events) this.events.emit(...event);
    return result;
  }
}
