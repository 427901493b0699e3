import { ConflictException, Inject, Injectable, type Type } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import type { TransactionScript } from '../database/database.js';
import { Table } from '../database/table.js';
import { uuidV7 } from '../database/uuid-v7.js';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { HideFromInspect } from '../errors/hide-from-inspect.decorator.js';
import {
  CLOCK,
  type Clock,
  DATA_SOURCE,
  MODULE_EXTRAS,
  RESOLVED_OPTIONS,
  USER_STORE,
} from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import type { RevokeAllOptions } from '../tokens/token.interfaces.js';
import { UserTransactions } from '../tokens/transactions/user.transactions.js';
import { checkNewPassword, checkNewUsername } from '../users/credentials.js';
import { hashPassword } from '../users/password-hash.js';
import { User } from '../users/user.entity.js';
import { typeOrmUsers, type TypeOrmUsers } from './typeorm-users.js';

/** The built-in store over `User` or a subclass of it. */
export const builtInUsers = (entity: Type<User>): Type<TypeOrmUsers<User>> =>
  typeOrmUsers(entity, { id: 'id', username: 'username', password: 'password', active: 'active' });

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
    @Inject(MODULE_EXTRAS) { userEntity }: { userEntity: Type<User> },
    @Inject(USER_STORE) private readonly users: TypeOrmUsers<User>,
    private readonly transactions: UserTransactions,
  ) {
    this.table = new Table(dataSource, userEntity);
  }

  /**
   * Creates an active user.
   *
   * @param username - compared exactly; at most 255 characters, without invisible characters, or white space around it
   * @param password - as the option `passwords` says, and at most 1,024 bytes; hashed with Argon2id exactly as given. Null for
   * a user who cannot log in
   * @returns the user as it was stored: of the class of the option `userEntity`, without the password
   * @throws ExpiringTokenException `validation_failed` for an invalid name or password; `HttpException` of `passwords.check`
   * @throws ConflictException if the name is taken
   */
  async create(username: string, password: string | null): Promise<User> {
    const user = { id: uuidV7(this.clock()), username: checkNewUsername(username), active: true };
    const hash =
      password === null ? null : await hashPassword(await checkNewPassword(this.options.passwords, password));
    const { table } = this;
    const insert = function* (): TransactionScript<User> {
      yield table.insert({ ...user, password: hash });
      const { rows } = yield table.select({ id: user.id });
      return table.read(rows[0]!);
    };
    const duplicate = () => new ConflictException('User name is taken');
    const unstorable = () =>
      new ExpiringTokenException('validation_failed', {
        message: 'username contains a character that the database cannot store',
      });
    return this.transactions.run(user.id, insert, { duplicate, unstorable });
  }

  /**
   * Changes the password, and revokes the tokens of the user in the same transaction, but for personal ones. The event
   * `expiring-token.password-changed` is emitted after the commit.
   *
   * Danger: somebody who knew the old password may have made a personal token. End them too, with `personal: true`, if the old
   * password may be stolen.
   *
   * @param password - as for {@link create}
   * @param options - `except`: the `deviceId` that is not revoked, usually that of the request; `personal`: whether the personal
   * tokens of the user end too
   * @returns whether the user exists
   * @throws ExpiringTokenException `validation_failed` for an invalid password, or an `except` that is not a `deviceId`;
   * `HttpException` of `passwords.check`
   */
  changePassword(id: string, password: string | null, options: RevokeAllOptions = {}): Promise<boolean> {
    return this.users.changePassword(id, password, options);
  }

  /**
   * Deletes a user, and revokes all tokens of the user in the same transaction.
   *
   * @returns whether the user existed
   */
  delete(id: string): Promise<boolean> {
    return this.users.delete(id);
  }

  /**
   * Activates or deactivates a user. From the next request on, all requests with the tokens of an inactive user are answered
   * `user_inactive`; when the user is active again, they work as before, unless `revoke` ended them.
   *
   * @param options - `revoke`: whether all tokens of the user are revoked in the same transaction
   * @returns whether the user exists
   */
  setActive(id: string, active: boolean, options: { revoke?: boolean } = {}): Promise<boolean> {
    return this.users.setActive(id, active, options);
  }
}
