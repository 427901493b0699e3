import { Inject, Injectable } from '@nestjs/common';
import { FairQueue } from '../../async/fair-queue.js';
import { retry } from '../../async/retry.js';
import { raceAbort, withTimeout } from '../../async/with-timeout.js';
import type { Database, TransactionScript } from '../../database/database.js';
import { classifyDriverError } from '../../errors/driver-errors.js';
import { ExpiringTokenException } from '../../errors/expiring-token.exception.js';
import { orUnavailable } from '../../errors/service-unavailable.js';
import { DATABASE, RESOLVED_OPTIONS } from '../../expiring-token.constants.js';
import type { ResolvedOptions } from '../../options/resolve-options.js';
import type { RevokedEvent } from '../events/event.interfaces.js';
import { type Emit, TokenEvents } from '../events/token.events.js';
import { TokenChanges } from '../token-changes.js';

/** Makes the statements of a transaction. It is called again for each attempt, and what it emits is sent after the commit. */
export type UserScript<T> = (emit: Emit) => TransactionScript<T>;

/** An event that is emitted after the commit. */
type EmittedEvent = Parameters<Emit>;

/** A condition that only the application can check, and not a statement of the transaction. */
export interface ApplicationCondition<T> {
  /** Throws if the condition does not hold. */
  check(): Promise<void>;
  /** Makes the statements that take back what the transaction did. */
  undo(result: T, emit: Emit): TransactionScript<unknown>;
}

/** How a script is run. */
export interface UserScriptOptions<T> {
  /** The error if a unique key is taken. Without it the keys are random ids, and the script runs again. */
  duplicate?: () => Error;
  /** The error if the database cannot store a value. Without it, the error of the driver is thrown. */
  unstorable?: () => Error;
  /** The scripts to run instead, one after the other, if the database cannot store a value of the script before. */
  fallbacks?: readonly UserScript<T>[];
  /** The script ends access, so it runs before all other changes of the user. */
  isRevocation?: boolean;
  /** The id of the token that the change was requested with, of which a bounded number waits. */
  by?: string | undefined;
  /** How many changes that were requested with one token may wait. */
  maxWaiting?: number;
  /** Called for each device that was revoked, after the commit. */
  onRevoked?: () => void;
  /** What must hold when the caller gets the result. */
  condition?: ApplicationCondition<T> | undefined;
}

/**
 * A script found more rows than one transaction can change in time. It is rolled back, its batch is committed, and it runs
 * again: each transaction has the time limit of the option `timeout`, and each retry finds fewer rows.
 */
export class TooManyRows extends ExpiringTokenException {
  /** @param batch - deletes a part of the rows */
  constructor(readonly batch: UserScript<void>) {
    super('unavailable');
  }
}

/** How many changes that were requested with one token may wait. */
const MAX_WAITING_PER_TOKEN = 10;

/**
 * How many changes of one user may wait altogether: as many revocations, and as many others. A token of which nothing waits may
 * always add one, so that the holder of many tokens cannot keep the owner out.
 */
const MAX_WAITING_PER_USER = 500;

const isIssued = ([name]: EmittedEvent): boolean => name === 'expiring-token.issued';

/** `Retry-After` of a change that was rejected because too many wait. */
const RETRY_AFTER_SECONDS = 1;

/**
 * Runs a script in one transaction under the lock of a user: what it reads stays true until it ends, in every process. Then
 * publishes that the user's tokens changed, and emits the events.
 *
 * In this process the scripts of a user wait in a queue: revocations first, and the requests of different tokens in turn. So
 * the holder of a stolen token cannot keep its owner from revoking it.
 */
@Injectable()
export class UserTransactions {
  private readonly queue = new FairQueue();

  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(DATABASE) private readonly database: Database,
    private readonly changes: TokenChanges,
    private readonly events: TokenEvents,
  ) {}

  /**
   * Runs a script within the time limit of the option `timeout`. After the limit nothing is committed any more, because the
   * caller was answered that it failed. A script that throws {@link TooManyRows} is preceded by its batches.
   *
   * @throws ExpiringTokenException `unavailable`; `throttled` if too many changes wait that one token requested
   */
  run<T>(userId: string, script: UserScript<T>, options: UserScriptOptions<T> = {}): Promise<T> {
    const { timeoutMs } = this.options;
    return this.inBatches(script, options, (...part) =>
      orUnavailable(() => withTimeout(timeoutMs, (signal) => this.runPart(signal, userId, ...part))),
    );
  }

  /** {@link run} as a part of work that has a time limit already, which its batches share. */
  runUntil<T>(
    signal: AbortSignal,
    userId: string,
    script: UserScript<T>,
    options: UserScriptOptions<T> = {},
  ): Promise<T> {
    return this.inBatches(script, options, (...part) => this.runPart(signal, userId, ...part));
  }

  /** Runs a script, and the batches before it that it asks for. A device of which two of them delete tokens is revoked once. */
  private async inBatches<T>(
    script: UserScript<T>,
    options: UserScriptOptions<T>,
    runPart: <R>(part: UserScript<R>, partOptions: UserScriptOptions<R>) => Promise<[R, EmittedEvent[]]>,
  ): Promise<T> {
    const revoked = new Set<string>();
    const emit = (events: readonly EmittedEvent[]) => {
      for (const [name, payload] of events) {
        if (name === 'expiring-token.revoked') {
          const { deviceId } = payload as RevokedEvent;
          if (revoked.has(deviceId)) continue;
          revoked.add(deviceId);
          options.onRevoked?.();
        }
        this.events.emit(name, payload);
      }
    };
    for (;;) {
      try {
        const [result, events] = await runPart(script, options);
        emit(events);
        return result;
      } catch (error) {
        if (!(error instanceof TooManyRows)) throw error;
        emit((await runPart(error.batch, { isRevocation: options.isRevocation ?? false, by: options.by }))[1]);
      }
    }
  }

  private runPart<T>(
    signal: AbortSignal,
    userId: string,
    script: UserScript<T>,
    options: UserScriptOptions<T>,
  ): Promise<[T, EmittedEvent[]]> {
    return this.inTurn(signal, userId, options, () => this.runConditionally(signal, userId, script, options));
  }

  /**
   * Runs a change that is exact without the lock, such as one statement, in the queue of the user. Then publishes that the
   * user's tokens changed.
   *
   * @throws ExpiringTokenException as {@link run}
   */
  runWithoutLock<T>(userId: string, change: () => Promise<T>, options: Pick<UserScriptOptions<T>, 'by'>): Promise<T> {
    return orUnavailable(() =>
      withTimeout(this.options.timeoutMs, (signal) => this.inTurn(signal, userId, options, change)),
    );
  }

  private async inTurn<T, R>(
    signal: AbortSignal,
    userId: string,
    { isRevocation = false, by = '', maxWaiting = MAX_WAITING_PER_TOKEN }: UserScriptOptions<R>,
    change: () => Promise<T>,
  ): Promise<T> {
    const { queue } = this;
    if (by !== '' && queue.waiting(userId, isRevocation, by) >= maxWaiting) {
      throw new ExpiringTokenException('throttled', {
        message: 'Too many requests',
        retryAfterSeconds: RETRY_AFTER_SECONDS,
      });
    }
    const isFull = queue.waiting(userId, isRevocation) >= MAX_WAITING_PER_USER;
    if (isFull && (by === '' || queue.waiting(userId, isRevocation, by) > 0)) {
      throw new ExpiringTokenException('unavailable');
    }
    const task = { isUrgent: isRevocation, principal: by, timeoutMs: this.options.timeoutMs, signal };
    try {
      // The next change starts when the time of this one is over, even if this one never ends.
      return await queue.run(userId, task, () => raceAbort(signal, change()));
    } finally {
      // Even if it failed: the commit may have succeeded although its answer was lost.
      await this.changes.publish(userId);
    }
  }

  /**
   * The condition may change after it was checked. If it changes after the second check, the application revokes the tokens
   * of the user after the commit, and deletes what was committed. So no token is returned that such a revocation missed. The
   * check cannot run inside the transaction: it may need a connection of the pool while transactions hold all of them.
   */
  private async runConditionally<T>(
    signal: AbortSignal,
    userId: string,
    script: UserScript<T>,
    options: UserScriptOptions<T>,
  ): Promise<[T, EmittedEvent[]]> {
    const { condition } = options;
    await condition?.check();
    const [result, events] = await this.transact(signal, userId, script, options);
    if (!condition) return [result, events];
    try {
      await raceAbort(signal, condition.check());
    } catch (error) {
      await this.takeBack(userId, condition, result, events);
      throw error;
    }
    return [result, events];
  }

  /** Undoes what nobody will be given. A token that existed before, which an obtain returns again, stays. */
  private async takeBack<T>(
    userId: string,
    condition: ApplicationCondition<T>,
    result: T,
    events: readonly EmittedEvent[],
  ): Promise<void> {
    for (const event of events.filter((each) => !isIssued(each))) this.events.emit(...event);
    if (!events.some(isIssued)) return;
    // With a time limit of its own: that of the change may be over.
    await withTimeout(this.options.timeoutMs, (signal) =>
      this.transact(signal, userId, () => condition.undo(result, () => undefined)),
    );
  }

  private async transact<T>(
    signal: AbortSignal,
    userId: string,
    script: UserScript<T>,
    options: Pick<UserScriptOptions<T>, 'duplicate' | 'unstorable' | 'fallbacks'> = {},
  ): Promise<[T, EmittedEvent[]]> {
    const { duplicate, unstorable, fallbacks = [] } = options;
    let events: EmittedEvent[] = [];
    const attempt = () => {
      // Of an attempt that was rolled back nothing is emitted.
      events = [];
      return script((...event) => events.push(event));
    };
    const transact = () => this.database.transaction(userId, attempt, signal);
    try {
      return [await (duplicate ? transact() : retry(transact, ['duplicate'], signal)), events];
    } catch (error) {
      const kind = classifyDriverError(error);
      if (kind === 'duplicate' && duplicate) throw duplicate();
      if (kind === 'value' && unstorable) throw unstorable();
      const [fallback, ...others] = fallbacks;
      if (kind === 'value' && fallback)
        return this.transact(signal, userId, fallback, { duplicate, fallbacks: others });
      throw error;
    }
  }
}
