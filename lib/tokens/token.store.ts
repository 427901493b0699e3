import { Inject, Injectable } from '@nestjs/common';
import { withTimeout } from '../async/with-timeout.js';
import type { Database, Row } from '../database/database.js';
import type { Statement } from '../database/dialect.js';
import { classifyDriverError } from '../errors/driver-errors.js';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { orUnavailable } from '../errors/service-unavailable.js';
import { CLOCK, type Clock, DATABASE, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import type { UserJoin } from '../users/user-store.js';
import type { Device } from './device.js';
import { DeviceQueries } from './device.queries.js';
import { PersonalTokenQueries } from './personal/personal-token.queries.js';
import type { TokenPurpose } from './token-purpose.js';
import type { Token } from './token.entity.js';
import { type ExpiryClass, type PruneCursor, type StoredToken, TokenQueries, type TokenRow } from './token.queries.js';

/** For a third one to find anything, two refreshes of the device would have to end between two statements of a rename. */
const MAX_FURTHER_RENAMES = 2;

/**
 * Runs single statements over tokens, outside of transactions. Each has the time limit of the option
 * `timeout`, except where a signal is passed. What takes several statements is a script in `TokenTransactions`.
 */
@Injectable()
export class TokenStore {
  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(DATABASE) private readonly database: Database,
    private readonly queries: TokenQueries,
    private readonly deviceQueries: DeviceQueries,
    private readonly personalQueries: PersonalTokenQueries,
  ) {}

  async find(id: string, signal: AbortSignal): Promise<StoredToken | undefined> {
    const rows = await this.database.read(this.queries.select({ id }), signal);
    return this.queries.stored(rows)[0];
  }

  /** The rows of tokens, each with its user if there is a join. */
  readWithUsers(ids: readonly string[], join: UserJoin | null, signal: AbortSignal): Promise<Row[]> {
    return this.database.read(this.queries.selectWithUsers(ids, join), signal);
  }

  /** The live devices of a user, or one of them, newest first; at most `MAX_LISTED_DEVICES`. */
  async devices(userId: string, device: { deviceId?: string } = {}): Promise<Device[]> {
    return this.deviceQueries.devices(await this.read(this.deviceQueries.list(userId, this.clock(), device)));
  }

  /**
   * Whether a user has any token that is not personal, valid or not. A revocation that would delete nothing is answered by this:
   * it does not wait for other changes, and others do not wait for it.
   *
   * @param except - rows that do not count
   * @throws ExpiringTokenException `unavailable`
   */
  hasTokens(userId: string, device: { deviceId?: string }, except: { deviceId?: string } = {}): Promise<boolean> {
    return orUnavailable(
      async () => (await this.read(this.deviceQueries.any({ userId, ...device }, except))).length > 0,
    );
  }

  /**
   * Names a device, without the lock of its user.
   *
   * @returns the device; undefined if it is not live
   */
  async rename(userId: string, deviceId: string, name: string): Promise<Device | undefined> {
    await withTimeout(this.options.timeoutMs, async (signal) => {
      const write = (statement: Statement) => this.database.write(statement, signal);
      await write(this.deviceQueries.rename(userId, deviceId, name)).catch((error: unknown) => {
        if (classifyDriverError(error) !== 'value') throw error;
        throw new ExpiringTokenException('validation_failed', {
          message: 'name contains a character that the database cannot store',
        });
      });
      // A refresh that ran meanwhile may have inserted tokens with the earlier name. Each further statement finds those of the
      // refreshes that it waited for. Their number is bounded: another process may give the device another name meanwhile.
      for (let further = 0; further < MAX_FURTHER_RENAMES; further++) {
        if ((await write(this.deviceQueries.renameOthers(userId, deviceId, name))) === 0) return;
      }
    });
    const [device] = await this.devices(userId, { deviceId });
    return device;
  }

  /** Whether a user has a personal token, valid or not. It answers a revocation that would delete nothing, as {@link hasTokens}. */
  hasPersonalToken(userId: string, id: string): Promise<boolean> {
    return orUnavailable(async () => (await this.read(this.personalQueries.rowsOf({ userId, id }))).length > 0);
  }

  /** The live personal tokens of a user, newest first. */
  async personalTokens(userId: string): Promise<Token[]> {
    return this.personalQueries.current(await this.read(this.personalQueries.list({ userId }, this.clock())));
  }

  /** Inserts a token, unless its id is taken. Returns whether it was inserted. */
  async insertNew(row: TokenRow): Promise<boolean> {
    try {
      await this.write(this.queries.insert(row));
      return true;
    } catch (error) {
      if (classifyDriverError(error) === 'duplicate') return false;
      throw error;
    }
  }

  /** Deletes all sealed successors that can no longer be opened. */
  async forgetSealedBefore(now: number): Promise<void> {
    await this.write(this.queries.forgetSealedBefore(now));
  }

  /** When the next sealed successors expire, in milliseconds since the epoch; null if there are none. */
  nextSealedUntil(): Promise<number | null> {
    return this.readNumber(this.queries.nextSealedUntil());
  }

  /** The next longer own lifespan that any token of a purpose has, in milliseconds; null if there is none. */
  nextLifespan(purpose: TokenPurpose, above: number): Promise<number | null> {
    return this.readNumber(this.queries.nextLifespan(purpose, above));
  }

  /** How many tokens of a class were created until an instant. */
  async count(expiryClass: ExpiryClass, createdUntil: number): Promise<number> {
    return (await this.readNumber(this.queries.count(expiryClass, createdUntil))) ?? 0;
  }

  /** The next tokens that a sweep visits, at most `limit`. */
  async next(
    expiryClass: ExpiryClass,
    after: PruneCursor,
    createdUntil: number,
    limit: number,
  ): Promise<PruneCursor[]> {
    return this.queries.cursors(await this.read(this.queries.next(expiryClass, after, createdUntil, limit)));
  }

  /** Deletes the tokens with these ids that are expired at an instant. Returns how many were deleted. */
  deleteExpired(ids: readonly string[], at: number): Promise<number> {
    return this.write(this.queries.deleteExpired(ids, at));
  }

  private async readNumber(statement: Statement): Promise<number | null> {
    const [row] = await this.read(statement);
    return row?.found === null || row?.found === undefined ? null : Number(row.found);
  }

  private read(statement: Statement): Promise<Row[]> {
    return withTimeout(this.options.timeoutMs, (signal) => this.database.read(statement, signal));
  }

  private write(statement: Statement): Promise<number> {
    return withTimeout(this.options.timeoutMs, (signal) => this.database.write(statement, signal));
  }
}
