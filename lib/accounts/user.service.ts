import { ConflictException, Inject, Injectable } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import type { TransactionScript } from '../database/database.js';
import { Table } from '../database/table.js';
import { isUuid, uuidV7 } from '../database/uuid-v7.js';
import { HideFromInspect } from '../errors/hide-from-inspect.decorator.js';
import { CLOCK, type Clock, DATA_SOURCE, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { checkExcept } from '../tokens/device.js';
import type { Emit } from '../tokens/events/token.events.js';
import { TokenTransactions } from '../tokens/token.transactions.js';
import { UserTransactions } from '../tokens/user.transactions.js';
import { checkNewPassword, checkNewUsername } from '../users/credentials.js';
import { hashPassword } from '../users/password-hash.js';
import { User } from '../users/user.entity.js';

/** Manages the users of the built-in store. It does not exist if the option `users` names another store. */
@HideFromInspect()
@Injectable()
export class UserService {
  private readonly table: Table<User, Pick<User, 'id' | 'username' | 'password' | 'active'>>;

  /** @internal Nest calls it. */
  constructor(
    @Inject(DATA_SOURCE) dataSource: DataSource,
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    private readonly transactions: UserTransactions,
    private readonly scripts: TokenTransactions,
  ) {
    this.table = new Table(dataSource, User);
  }

  /**
   * Creates an active user.
   *
   * @param username - compared exactly; at most 255 characters, without invisible characters, or white space around it
   * @param password - as the option `passwords` says, and at most 1,024 bytes; hashed with Argon2id exactly as given. Null for
   * a user who cannot log in
   * @throws ExpiringTokenException `validation_failed` for an invalid name or password; `HttpException` of `passwords.check`
   * @throws ConflictException if the name is taken
   */
  async create(username: string, password: string | null): Promise<User> {
    const user = { id: uuidV7(this.clock()), username: checkNewUsername(username), active: true };
    const hash = await this.hashOrNull(password);
    const { table } = this;
    const insert = function* (): TransactionScript<User> {
      yield table.insert({ ...user, password: hash });
      return table.create(user);
    };
    const duplicate = () => new ConflictException('User name is taken');
    return this.transactions.run(user.id, insert, { duplicate });
  }

  /**
   * Changes the password, and revokes the tokens of the user in the same transaction: whoever knows the old password has no
   * access any more.
   *
   * @param password - as for {@link create}
   * @param options - `except`: the `deviceId` that is not revoked, usually that of the request
   * @returns whether the user exists
   * @throws ExpiringTokenException `validation_failed` for an invalid password, or an `except` that is not a `deviceId`
   */
  async changePassword(id: string, password: string | null, options: { except?: string } = {}): Promise<boolean> {
    const except = checkExcept(options.except);
    if (!isUuid(id)) return false;
    const hash = await this.hashOrNull(password);
    const { table, scripts } = this;
    const change = function* (emit: Emit): TransactionScript<boolean> {
      const { rows } = yield table.select({ id });
      if (rows.length === 0) return false;
      yield table.update({ password: hash }, { id });
      yield* scripts.revokeAll(id, except, 'password', emit);
      return true;
    };
    return this.transactions.run(id, change, { isRevocation: true });
  }

  /**
   * Deletes a user, and revokes all tokens of the user in the same transaction.
   *
   * @returns whether the user existed
   */
  async delete(id: string): Promise<boolean> {
    if (!isUuid(id)) return false;
    const { table, scripts } = this;
    const change = function* (emit: Emit): TransactionScript<boolean> {
      const { affected } = yield table.delete({ id });
      yield* scripts.revokeAll(id, {}, 'deleted', emit);
      return affected > 0;
    };
    return this.transactions.run(id, change, { isRevocation: true });
  }

  /**
   * Activates or deactivates a user. From the next request on, all requests with the tokens of an inactive user are answered
   * `user_inactive`; when the user is active again, they work as before. To revoke them, call
   * `ExpiringTokenService.revokeAll` too.
   *
   * @returns whether the user exists
   */
  async setActive(id: string, active: boolean): Promise<boolean> {
    if (!isUuid(id)) return false;
    const { table } = this;
    const change = function* (): TransactionScript<boolean> {
      const { rows } = yield table.select({ id });
      if (rows.length > 0) yield table.update({ active }, { id });
      return rows.length > 0;
    };
    return this.transactions.run(id, change, { isRevocation: true });
  }

  /** The hash of a new password; null for a user without a password. */
  private async hashOrNull(password: string | null): Promise<string | null> {
    return password === null ? null : hashPassword(await checkNewPassword(this.options.passwords, password));
  }
}
