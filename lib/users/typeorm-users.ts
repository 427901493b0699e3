import { Inject, Injectable, mixin, type Type } from '@nestjs/common';
import { type DataSource, type FindOptionsWhere, In, type ObjectLiteral } from 'typeorm';
import type { Database, Row, TransactionScript } from '../database/database.js';
import { classifyDriverError } from '../errors/driver-errors.js';
import { type Selection, Table } from '../database/table.js';
import { withTimeout } from '../async/with-timeout.js';
import { DATA_SOURCE, DATABASE, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import { HideFromInspect } from '../errors/hide-from-inspect.decorator.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { checkUserEntity, hasHiddenRows, isLoadedFromRow, type UserProperties } from './user-entity.js';
import { strengthenHash, verifyPassword } from './password-hash.js';
import {
  type Credentials,
  type JoinableUserStore,
  type TransactionalUserStore,
  USER_JOIN,
  type UserJoin,
  type UserStore,
  type VerifiedState,
  VERIFY_AGAIN,
} from './user-store.js';

/** Some drivers return 1. Another truthy value, for example the buffer of a bit column, may mean false. */
const isTrue = (value: unknown): boolean => value === true || value === 1;

/** A store over a TypeORM entity: it has the optional methods of {@link UserStore}. */
export interface TypeOrmUserStore<User> extends UserStore<User> {
  findByIds(ids: readonly string[]): Promise<User[]>;
  findByUsername(username: string): Promise<User | null>;
  isActive(user: User): boolean;
}

/** Creates the class of a store over an entity: what `typeOrmUsers` returns, without the methods that change users. */
export function typeOrmUserStore<User extends ObjectLiteral>(
  entity: Type<User>,
  properties: UserProperties<User>,
): Type<TypeOrmUserStore<User>> {
  const { id, username, password, active } = properties;

  @HideFromInspect()
  @Injectable()
  class UserStoreOverEntity implements TypeOrmUserStore<User>, JoinableUserStore<User>, TransactionalUserStore<User> {
    private readonly table: Table<User, ObjectLiteral>;
    private readonly selection: Selection<User, ObjectLiteral>;
    private readonly isLoadedFromRow: boolean;
    private readonly hasHiddenRows: boolean;
    /** The hash that was verified for a user. */
    private readonly verifiedHashes = new WeakMap<User, unknown>();

    constructor(
      @Inject(DATA_SOURCE) private readonly dataSource: DataSource,
      @Inject(DATABASE) private readonly database: Database,
      @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    ) {
      checkUserEntity(dataSource, entity, properties);
      this.table = new Table(dataSource, entity);
      this.selection = this.table.selection('u', ({ isSelect, isVirtual }) => isSelect && !isVirtual);
      const { metadata } = this.table;
      this.isLoadedFromRow = isLoadedFromRow(dataSource, metadata, database.dialect.columnTypesDecodedDifferently);
      this.hasHiddenRows = hasHiddenRows(metadata);
    }

    async findById(userId: string): Promise<User | null> {
      const criteria = { [id]: userId } as FindOptionsWhere<User>;
      const user = await this.read((signal) =>
        this.database.readEntities((manager) => manager.getRepository(entity).findOneBy(criteria), signal),
      );
      // MySQL compares a number with text by its leading digits: it finds id 1 for '1abc'.
      return user && this.getId(user) === userId ? user : null;
    }

    async findByUsername(name: string): Promise<User | null> {
      const row = await this.findRow(name);
      return row ? this.table.read(row) : null;
    }

    async findByIds(ids: readonly string[]): Promise<User[]> {
      // What a subclass adds to the look-up of one user, for example a check of the tenant, applies here too.
      if (this.overridesFindById()) {
        const users = await Promise.all(ids.map((userId) => this.findById(userId)));
        return users.filter((user) => user !== null);
      }
      const criteria = { [id]: In(ids) } as FindOptionsWhere<User>;
      return this.runWithTimeout((signal) =>
        this.database.readEntities((manager) => manager.getRepository(entity).findBy(criteria), signal),
      );
    }

    [USER_JOIN](userId: string): UserJoin<User> | null {
      if (this.overridesFindById() || !this.isLoadedFromRow || this.hasAfterLoadSubscriber()) return null;
      const { dialect } = this.database;
      const comparable = dialect.castText(userId, this.table.comparedColumn(id));
      if (comparable === null) return null;
      const { selection } = this;
      return {
        ...dialect.leftJoin(selection, `${selection.column(id)} = ${comparable}`),
        read: (row, expectedId) => {
          const user = selection.read(row);
          // Without a user all columns are null. MySQL also joins the user 1 to a token of '1abc'.
          return user[id] !== null && this.getId(user) === expectedId ? user : null;
        },
      };
    }

    async validateCredentials({ username: name, password: plain }: Credentials): Promise<User | null> {
      const hashOf = (found: Row | undefined) => found && this.table.readColumn(found, password);
      let row = await this.findRow(name);
      for (;;) {
        const stored = hashOf(row);
        const isRight = await verifyPassword(stored, plain);
        // The password may have been changed while this hash waited in the queue: then the new one counts. The row is read
        // again in any case: the response time must not reveal whether the user exists.
        row = await this.findRow(name);
        if (typeof stored === 'string' && hashOf(row) !== stored) continue;
        if (!isRight || !row) return null;
        const user = this.table.read(row);
        // The login succeeds even if this fails. For an inactive user, who is rejected, no second hash is computed.
        const strengthen = () => this.strengthen(user, stored as string, plain).catch(() => stored);
        this.verifiedHashes.set(user, this.isActive(user) ? await strengthen() : stored);
        return user;
      }
    }

    *[VERIFY_AGAIN](user: User): TransactionScript<VerifiedState> {
      const { rows } = yield this.table.select({ [id]: user[id] });
      const row = rows.find((candidate) => String(this.table.readColumn(candidate, id)) === String(user[id]));
      const deletion = this.table.metadata.deleteDateColumn?.propertyName;
      if (!row || (deletion && this.table.readColumn(row, deletion) !== null)) return 'inactive';
      // The column, and not `isActive` of a subclass, which may need relations that the row does not contain.
      if (active !== undefined && !isTrue(this.table.readColumn(row, active))) return 'inactive';
      const verified = this.verifiedHashes.get(user);
      return verified === undefined || this.table.readColumn(row, password) === verified ? 'valid' : 'changed';
    }

    getId(user: User): string {
      return String(user[id]);
    }

    isActive(user: User): boolean {
      return active === undefined || isTrue(user[active]);
    }

    /** Whether a subclass has its own `findById`. */
    private overridesFindById(): boolean {
      return Reflect.get(this, 'findById') !== Reflect.get(UserStoreOverEntity.prototype, 'findById');
    }

    /** Whether a TypeORM subscriber handles loaded entities. It may have been added after start-up. */
    private hasAfterLoadSubscriber(): boolean {
      return this.dataSource.subscribers.some((subscriber) => 'afterLoad' in subscriber);
    }

    /** Finds the row whose name is exactly equal, among those that the collation of the column treats as equal. */
    private async findRow(name: string): Promise<Row | undefined> {
      // PostgreSQL rejects NUL in text, so no user name contains it.
      if (name.includes('\0')) return undefined;
      const select = this.table.select({ [username]: name });
      const rows = await this.read((signal) => this.database.read(select, signal));
      const visibleIds = this.hasHiddenRows ? await this.findVisibleIds(name) : null;
      const isVisible = (row: Row) => !visibleIds || visibleIds.has(String(this.table.readColumn(row, id)));
      return rows?.find((row) => this.table.readColumn(row, username) === name && isVisible(row));
    }

    /** Returns the ids of the users that TypeORM loads for a name. */
    private async findVisibleIds(name: string): Promise<Set<string>> {
      const criteria = { [username]: name } as FindOptionsWhere<User>;
      const users = await this.read((signal) =>
        this.database.readEntities((manager) => manager.getRepository(entity).findBy(criteria), signal),
      );
      return new Set(users?.map((user) => String(user[id])));
    }

    /**
     * Replaces the hash that was verified if it is weaker than new ones, unless it was changed in the meantime. Returns the
     * hash of the row, as far as it is known.
     */
    private async strengthen(user: User, stored: string, plain: string): Promise<string> {
      const stronger = await strengthenHash(stored, plain);
      if (stronger === null) return stored;
      const change = this.table.update({ [password]: stronger }, { [id]: user[id], [password]: stored });
      const affected = await this.runWithTimeout((signal) => this.database.write(change, signal));
      return affected === 1 ? stronger : stored;
    }

    /** Reads; if the column cannot hold the value that is searched for, nothing is found, on every database alike. */
    private read<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T | null> {
      return this.runWithTimeout((signal) =>
        work(signal).catch((error: unknown) => {
          if (classifyDriverError(error) === 'value') return null;
          throw error;
        }),
      );
    }

    private runWithTimeout<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
      return withTimeout(this.options.timeoutMs, work);
    }
  }

  return mixin(UserStoreOverEntity);
}
