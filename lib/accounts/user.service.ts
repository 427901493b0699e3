import { ConflictException, Inject, Injectable } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import { withTimeout } from '../async/with-timeout.js';
import { orUnavailable } from '../errors/service-unavailable.js';
import type { Database, TransactionScript } from '../database/database.js';
import { classifyDriverError } from '../errors/driver-errors.js';
import { Table } from '../database/table.js';
import { isUuid, uuidV7 } from '../database/uuid-v7.js';
import { CLOCK, type Clock, DATA_SOURCE, DATABASE, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { HideFromInspect } from '../errors/hide-from-inspect.decorator.js';
import { checkExcept } from '../tokens/device.js';
import { type Emit, TokenEvents } from '../tokens/events/token.events.js';
import { TokenTransactions } from '../tokens/token.transactions.js';
import { checkCredential, checkNewUsername } from '../users/credentials.js';
import { hashPassword } from '../users/password-hash.js';
import { User } from '../users/user.entity.js';

/** Manages the users of the built-in store. Not there where `users` names another store. */
@HideFromInspect()
@Injectable()
export class UserService {
  private readonly table: Table<User, Pick<User, 'id' | 'username' | 'password' | 'active'>>;

  /** @internal Nest makes it. */
  constructor(
    @Inject(DATA_SOURCE) dataSource: DataSource,
    @Inject(DATABASE) private readonly database: Database,
    private readonly tokens: TokenTransactions,
    private readonly events: TokenEvents,
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
  ) {
    this.table = new Table(dataSource, User);
  }

  /**
   * Creates an active user.
   *
   * @param username - compared exactly from then on; at most 255 characters, without white space around it
   * @param password - at most 1,024 bytes, hashed with Argon2id exactly as given; null for a user who cannot log in
   * @throws ExpiringTokenException `validation_failed` for a name or password that cannot be
   * @throws ConflictException when the name is taken
   */
  async create(username: string, password: string | null): Promise<User> {
    const user = { id: uuidV7(this.clock()), username: checkNewUsername(username), active: true };
    const hash = password === null ? null : await hashPassword(checkCredential('password', password));
    const { table } = this;
    return this.transact(user.id, function* () {
      yield table.insert({ ...user, password: hash });
      return table.create(user);
    });
  }

  /**
   * Changes the password, and revokes the tokens of the user in the same transaction: whoever has learnt the old one is out.
   *
   * @param password - as for {@link create}
   * @param options - `except`: the `deviceId` that stays, that of the request usually
   * @returns whether there is such a user
   * @throws ExpiringTokenException `validation_failed` for a password that cannot be, or an `except` that is no `deviceId`
   */
  async changePassword(id: string, password: string | null, options: { except?: string } = {}): Promise<boolean> {
    const except = checkExcept(options.except);
    if (!isUuid(id)) return false;
    const hash = password === null ? null : await hashPassword(checkCredential('password', password));
    const { table, tokens } = this;
    return this.transact(id, function* (tell) {
      const { rows } = yield table.select({ id });
      if (rows.length === 0) return false;
      yield table.update({ password: hash }, { id });
      yield* tokens.revokeAll(id, except, 'password', tell);
      return true;
    });
  }

  /**
   * Deletes a user, and revokes all tokens in the same transaction.
   *
   * @returns whether there was such a user
   */
  async delete(id: string): Promise<boolean> {
    if (!isUuid(id)) return false;
    const { table, tokens } = this;
    return this.transact(id, function* (tell) {
      const { affected } = yield table.delete({ id });
      yield* tokens.revokeAll(id, {}, 'deleted', tell);
      return affected > 0;
    });
  }

  /**
   * Lets a user in, or keeps one out: from the next request on all tokens answer `user_inactive`, until the user is active
   * again and they work as before. To end them for good, call `ExpiringTokenService.revokeAll` as well.
   *
   * @returns whether there is such a user
   */
  async setActive(id: string, active: boolean): Promise<boolean> {
    if (!isUuid(id)) return false;
    const { table } = this;
    return this.transact(id, function* () {
      const { rows } = yield table.select({ id });
      if (rows.length > 0) yield table.update({ active }, { id });
      return rows.length > 0;
    });
  }

  /** In a transaction, so that nothing is done after it was answered that it could not be. */
  private transact<T>(userId: string, script: (tell: Emit | undefined) => TransactionScript<T>): Promise<T> {
    return orUnavailable(() =>
      withTimeout(this.options.timeoutMs, (signal) =>
        this.events
          .afterCommit((made) => this.database.transaction(userId, made, signal), script)
          .catch((error: unknown) => {
            throw classifyDriverError(error) === 'duplicate' ? new ConflictException('User name is taken') : error;
          }),
      ),
    );
  }
}
