import { Inject, Injectable, mixin, type Type } from '@nestjs/common';
import type { DataSource, ObjectLiteral } from 'typeorm';
import { withTimeout } from '../async/with-timeout.js';
import type { Database, Row, TransactionScript } from '../database/database.js';
import { Table } from '../database/table.js';
import { classifyDriverError } from '../errors/driver-errors.js';
import { ExpiringTokenOptionsError } from '../errors/expiring-token-options.error.js';
import { HideFromInspect } from '../errors/hide-from-inspect.decorator.js';
import { orUnavailable } from '../errors/service-unavailable.js';
import { DATA_SOURCE, DATABASE, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { checkExcept } from '../tokens/device.js';
import type { Emit } from '../tokens/events/token.events.js';
import { TokenTransactions } from '../tokens/transactions/token.transactions.js';
import type { RevokeAllOptions } from '../tokens/token.interfaces.js';
import { UserTransactions } from '../tokens/transactions/user.transactions.js';
import { checkNewPassword } from '../users/credentials.js';
import { hashPassword } from '../users/password-hash.js';
import { isOfEntity, isSoftDeleted, type UserProperties } from '../users/user-entity.js';
import { isUserId } from '../users/user-id.js';
import { typeOrmUserStore, type TypeOrmUserStore, type TypeOrmUsersOptions } from '../users/typeorm-users.js';

/** A `UserStore` that also changes its users, each together with the tokens of the user in one transaction. */
export interface TypeOrmUsers<User> extends TypeOrmUserStore<User> {
  /**
   * Changes the password, and revokes the tokens of the user in the same transaction, but for personal ones. The event
   * `expiring-token.password-changed` is emitted after the commit.
   *
   * Danger: somebody who knew the old password may have made a personal token. End them too, with `personal: true`, if the old
   * password may be stolen.
   *
   * @param id - as `UserStore.getId` returns it
   * @param password - as the option `passwords` says, and at most 1,024 bytes; hashed with Argon2id exactly as given. Null for
   * a user who cannot log in with a password
   * @param options - `except`: the `deviceId` that is not revoked, usually that of the request; `personal`: whether the personal
   * tokens of the user end too
   * @returns whether the user exists
   * @throws ExpiringTokenException `validation_failed` for an invalid password, or an `except` that is not a `deviceId`;
   * `HttpException` of `passwords.check`
   */
  changePassword(id: string, password: string | null, options?: RevokeAllOptions): Promise<boolean>;

  /**
   * Activates or deactivates a user. From the next request on, all requests with the tokens of an inactive user are answered
   * `user_inactive`; when the user is active again, they work as before, unless `revoke` ended them.
   *
   * @param id - as `UserStore.getId` returns it
   * @param options - `revoke`: whether all tokens of the user are revoked in the same transaction
   * @returns whether the user exists
   * @throws ExpiringTokenOptionsError if `typeOrmUsers` was given no property `active`
   */
  setActive(id: string, active: boolean, options?: { revoke?: boolean }): Promise<boolean>;

  /**
   * Deletes the row of a user for good, as TypeORM's `Repository.delete` does, even if the entity has a `@DeleteDateColumn()`.
   * All tokens of the user are revoked in the same transaction.
   *
   * @param id - as `UserStore.getId` returns it
   * @returns whether the row existed
   */
  delete(id: string): Promise<boolean>;
}

/**
 * Creates a `UserStore` over an application's own TypeORM entity, in the data source that the module uses. The class can
 * be injected where the module is imported, and changes passwords, deactivates and deletes users: see {@link TypeOrmUsers}.
 *
 * Names are compared exactly, even if the collation of the column treats `Ann` and `ann` as equal. Argon2id hashes that are
 * weaker than those of this package are replaced at the next login; stronger ones stay.
 *
 * Rows are changed by statements of this package: version and update date of the entity change as with TypeORM's
 * `Repository.update`, and subscribers and listeners of the entity are not called.
 *
 * @param entity - the entity class of the users
 * @param properties - the names of its properties
 * @param options - see {@link TypeOrmUsersOptions}
 * @returns a class for the option `users`. It can be extended
 * @throws ExpiringTokenOptionsError at start-up, if the entity has no such columns, or columns that cannot be used as such
 * @example
 * ```ts
 * @Injectable()
 * export class Accounts extends typeOrmUsers(Account, {
 *   id: 'id',
 *   username: 'email',
 *   password: 'passwordHash',
 *   active: 'enabled',
 * }) {}
 *
 * ExpiringTokenModule.forRoot({ users: Accounts })
 * ```
 */
export function typeOrmUsers<User extends ObjectLiteral>(
  entity: Type<User>,
  properties: UserProperties<User>,
  { verify }: TypeOrmUsersOptions = {},
): Type<TypeOrmUsers<User>> {
  const { id, password: passwordProperty, active: activeProperty } = properties;

  @HideFromInspect()
  @Injectable()
  class UsersOverEntity extends typeOrmUserStore(entity, properties, { verify }) implements TypeOrmUsers<User> {
    readonly #database: Database;
    readonly #options: ResolvedOptions;
    readonly #table: Table<User, ObjectLiteral>;
    readonly #transactions: UserTransactions;
    readonly #scripts: TokenTransactions;

    constructor(
      @Inject(DATA_SOURCE) dataSource: DataSource,
      @Inject(DATABASE) database: Database,
      @Inject(RESOLVED_OPTIONS) options: ResolvedOptions,
      @Inject(UserTransactions) transactions: UserTransactions,
      @Inject(TokenTransactions) scripts: TokenTransactions,
    ) {
      super(dataSource, database, options);
      this.#database = database;
      this.#options = options;
      this.#table = new Table(dataSource, entity);
      this.#transactions = transactions;
      this.#scripts = scripts;
    }

    async changePassword(userId: string, password: string | null, options: RevokeAllOptions = {}): Promise<boolean> {
      const ended = { ...checkExcept(options.except), personal: options.personal ?? false };
      const hash =
        password === null ? null : await hashPassword(await checkNewPassword(this.#options.passwords, password));
      const [table, scripts] = [this.#table, this.#scripts];
      return this.#change(userId, function* (row, emit) {
        if (!row || isSoftDeleted(table.metadata, row)) return false;
        yield table.change({ [passwordProperty]: hash }, { [id]: table.readColumn(row, id) });
        yield* scripts.revokeAll(userId, ended, 'password', emit);
        emit('expiring-token.password-changed', { userId });
        return true;
      });
    }

    async setActive(userId: string, active: boolean, { revoke = false } = {}): Promise<boolean> {
      if (activeProperty === undefined) {
        throw new ExpiringTokenOptionsError(
          'users',
          `${entity.name} has no property for active, so setActive cannot change it`,
          'Give typeOrmUsers the name of a boolean property as active.',
        );
      }
      const [table, scripts] = [this.#table, this.#scripts];
      return this.#change(userId, function* (row, emit) {
        if (revoke) yield* scripts.revokeAll(userId, { personal: true }, 'revoked', emit);
        if (!row || isSoftDeleted(table.metadata, row)) return false;
        yield table.change({ [activeProperty]: active }, { [id]: table.readColumn(row, id) });
        return true;
      });
    }

    async delete(userId: string): Promise<boolean> {
      const [table, scripts] = [this.#table, this.#scripts];
      return this.#change(userId, function* (row, emit) {
        if (row) yield table.delete({ [id]: table.readColumn(row, id) });
        yield* scripts.revokeAll(userId, { personal: true }, 'deleted', emit);
        return row !== undefined;
      });
    }

    /**
     * Runs a script in a transaction under the lock of the user.
     *
     * @param script - gets the row of the user, if there is one, as it is in that transaction
     */
    async #change(
      userId: string,
      script: (row: Row | undefined, emit: Emit) => TransactionScript<boolean>,
    ): Promise<boolean> {
      if (!isUserId(userId)) return false;
      const table = this.#table;
      const storedId = await this.#findStoredId(userId);
      const change = function* (emit: Emit): TransactionScript<boolean> {
        const row = storedId === undefined ? undefined : (yield table.select({ [id]: storedId })).rows[0];
        return yield* script(row, emit);
      };
      return this.#transactions.run(userId, change, { isRevocation: true });
    }

    /** The value of the id's property for a user. A database may find another user for a text, or refuse to compare it. */
    async #findStoredId(userId: string): Promise<unknown> {
      const table = this.#table;
      const rows = await orUnavailable(() =>
        withTimeout(this.#options.timeoutMs, (signal) =>
          this.#database.read(table.select({ [id]: userId }), signal).catch((error: unknown) => {
            if (classifyDriverError(error) === 'value') return [];
            throw error;
          }),
        ),
      );
      return rows
        .filter((row) => isOfEntity(table.metadata, row))
        .map((row) => table.readColumn(row, id))
        .find((storedId) => String(storedId) === userId);
    }
  }

  return mixin(UsersOverEntity);
}
