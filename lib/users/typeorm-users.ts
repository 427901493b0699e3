import { Inject, Injectable, mixin, type Type } from '@nestjs/common';
import { type DataSource, type EntityMetadata, type FindOptionsWhere, In, type ObjectLiteral } from 'typeorm';
import type { Database, Row, TransactionScript } from '../database/database.js';
import { classifyDriverError } from '../errors/driver-errors.js';
import { type Selection, Table } from '../database/table.js';
import { withTimeout } from '../async/with-timeout.js';
import { DATA_SOURCE, DATABASE, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import { HideFromInspect } from '../errors/hide-from-inspect.decorator.js';
import { formatValue } from '../options/option-checks.js';
import { ExpiringTokenOptionsError } from '../errors/expiring-token-options.error.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { hashPassword, isOutdated, verifyPassword } from './password-hash.js';
import { type Credentials, type JoinableUserStore, USER_JOIN, type UserJoin, type UserStore } from './user-store.js';

/** The names of an entity's properties that {@link typeOrmUsers} reads. */
export interface UserProperties<User> {
  /** Primary key, or another unique property that never changes. */
  id: keyof User & string;
  /** Unique user name. */
  username: keyof User & string;
  /** Argon2id PHC string, or null for a user without a password. It may have `select: false`. */
  password: keyof User & string;
  /** A boolean: whether the user may log in and use tokens. Left out: all may. */
  active?: keyof User & string;
}

/**
 * A {@link UserStore} over an application's own TypeORM entity, in the data source that the module uses.
 *
 * Names are compared exactly, also where the column's collation takes `Ann` for `ann`. Hashes made with other Argon2id
 * parameters than this package's are replaced at the next login.
 *
 * @example
 * ```ts
 * ExpiringTokenModule.forRoot({
 *   users: typeOrmUsers(Account, { id: 'id', username: 'email', password: 'passwordHash', active: 'enabled' }),
 * })
 * ```
 */
export function typeOrmUsers<User extends ObjectLiteral>(
  entity: Type<User>,
  properties: UserProperties<User>,
): Type<UserStore<User>> {
  const { id, username, password, active } = properties;

  @HideFromInspect()
  @Injectable()
  class TypeOrmUserStore implements JoinableUserStore<User> {
    private readonly table: Table<User, ObjectLiteral>;
    private readonly selection: Selection<User, ObjectLiteral>;
    private readonly isPlain: boolean;
    private readonly hidesRows: boolean;

    constructor(
      @Inject(DATA_SOURCE) private readonly dataSource: DataSource,
      @Inject(DATABASE) private readonly database: Database,
      @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    ) {
      checkProperties(dataSource, entity, properties);
      this.table = new Table(dataSource, entity);
      this.selection = this.table.selection('u', ({ isSelect, isVirtual }) => isSelect && !isVirtual);
      this.isPlain = isPlain(dataSource, this.table.metadata, database);
      this.hidesRows = hidesRows(this.table.metadata);
    }

    async findById(userId: string): Promise<User | null> {
      const criteria = { [id]: userId } as FindOptionsWhere<User>;
      const user = await this.read((signal) =>
        this.database.readEntities((manager) => manager.getRepository(entity).findOneBy(criteria), signal),
      );
      // MySQL finds the row 1 by '1abc'.
      return user && this.getId(user) === userId ? user : null;
    }

    async findByUsername(name: string): Promise<User | null> {
      const row = await this.findRow(name);
      return row ? this.table.read(row) : null;
    }

    async findByIds(ids: readonly string[]): Promise<User[]> {
      // A subclass that looks for one user in its own way is to be asked for each.
      if (this.findsInItsOwnWay()) {
        const found = await Promise.all(ids.map((userId) => this.findById(userId)));
        return found.filter((user) => user !== null);
      }
      const criteria = { [id]: In(ids) } as FindOptionsWhere<User>;
      return this.within((signal) =>
        this.database.readEntities((manager) => manager.getRepository(entity).findBy(criteria), signal),
      );
    }

    [USER_JOIN](userId: string): UserJoin<User> | null {
      if (this.findsInItsOwnWay() || !this.isPlain || this.isListenedTo()) return null;
      const { dialect } = this.database;
      const comparable = dialect.castText(userId, this.table.comparedColumn(id));
      if (comparable === null) return null;
      const { selection } = this;
      return {
        ...dialect.leftJoin(selection, `${selection.column(id)} = ${comparable}`),
        read: (row, sought) => {
          const user = selection.read(row);
          // Where there is none all columns are null, and MySQL finds the row 1 by '1abc'.
          return user[id] !== null && this.getId(user) === sought ? user : null;
        },
      };
    }

    async validateCredentials({ username: name, password: given }: Credentials): Promise<User | null> {
      const hashOf = (found: Row | undefined) => found && this.table.readColumn(found, password);
      let row = await this.findRow(name);
      for (;;) {
        const stored = hashOf(row);
        const isRight = await verifyPassword(stored, given);
        // The hash may have waited for others, and the password been changed meanwhile: then the new one counts. Looked at
        // again whatever the answer is, so that it takes as long for a name that nobody has.
        row = await this.findRow(name);
        if (typeof stored === 'string' && hashOf(row) !== stored) continue;
        if (!isRight || !row) return null;
        const user = this.table.read(row);
        // The login is right whether this succeeds or not. One that is refused all the same costs no second hash.
        if (this.isActive(user) && isOutdated(stored as string))
          await this.rehash(user, stored, given).catch(() => undefined);
        return user;
      }
    }

    getId(user: User): string {
      return String(user[id]);
    }

    isActive(user: User): boolean {
      if (active === undefined) return true;
      const value: unknown = user[active];
      // Some drivers return 1. Whatever else is truthy, a buffer of one bit say, may mean no.
      return value === true || value === 1;
    }

    /** Whether a subclass looks for users otherwise. */
    private findsInItsOwnWay(): boolean {
      return Reflect.get(this, 'findById') !== Reflect.get(TypeOrmUserStore.prototype, 'findById');
    }

    /** Whether something of the application sees each user that TypeORM loads. It may have come after start-up. */
    private isListenedTo(): boolean {
      return this.dataSource.subscribers.some((subscriber) => 'afterLoad' in subscriber);
    }

    /** The row of this very name, of all those that the column's collation takes for it. */
    private async findRow(name: string): Promise<Row | undefined> {
      // PostgreSQL takes no NUL in a text: no user has one in the name.
      if (name.includes('\0')) return undefined;
      const select = this.table.select({ [username]: name });
      const rows = await this.read((signal) => this.database.read(select, signal));
      const loaded = this.hidesRows ? await this.loadedIds(name) : null;
      const isUser = (row: Row) => !loaded || loaded.has(String(this.table.readColumn(row, id)));
      return rows?.find((row) => this.table.readColumn(row, username) === name && isUser(row));
    }

    /** Of the users that TypeORM loads by a name. */
    private async loadedIds(name: string): Promise<Set<string>> {
      const criteria = { [username]: name } as FindOptionsWhere<User>;
      const users = await this.read((signal) =>
        this.database.readEntities((manager) => manager.getRepository(entity).findBy(criteria), signal),
      );
      return new Set(users?.map((user) => String(user[id])));
    }

    /** Replaces the hash that was verified, and no newer one. */
    private async rehash(user: User, stored: unknown, plain: string): Promise<void> {
      const change = this.table.update(
        { [password]: await hashPassword(plain) },
        { [id]: user[id], [password]: stored },
      );
      const script = function* (): TransactionScript<void> {
        yield change;
      };
      await this.within((signal) => this.database.transaction(this.getId(user), script, signal));
    }

    /** What is sought by a value that the column cannot hold is not there, as other databases answer. */
    private read<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T | null> {
      return this.within((signal) =>
        work(signal).catch((error: unknown) => {
          if (classifyDriverError(error) === 'value') return null;
          throw error;
        }),
      );
    }

    private within<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
      return withTimeout(this.options.timeoutMs, work);
    }
  }

  return mixin(TypeOrmUserStore);
}

/** Whether there may be rows that TypeORM does not load: softly deleted, or of another class that shares the table. */
const hidesRows = ({ deleteDateColumn, inheritancePattern }: EntityMetadata): boolean =>
  deleteDateColumn !== undefined || inheritancePattern !== undefined;

/**
 * Whether all that TypeORM does when it loads an entity is to read the row: nothing else is loaded with it, and no column
 * in a way of its own.
 */
function isPlain({ driver }: DataSource, metadata: EntityMetadata, database: Database): boolean {
  const { eagerRelations, lazyRelations, relationIds, afterLoadListeners } = metadata;
  const readOtherwise = [...driver.spatialTypes, ...database.dialect.columnTypesDecodedDifferently];
  return (
    [eagerRelations, lazyRelations, relationIds, afterLoadListeners].every((list) => list.length === 0) &&
    metadata.columns.every(
      (column) => !column.isVirtualProperty && !readOtherwise.includes(driver.normalizeType(column)),
    ) &&
    metadata.expression === undefined &&
    !hidesRows(metadata)
  );
}

/** Refuses, at start-up, an entity that users cannot be read from. */
function checkProperties<User>(dataSource: DataSource, entity: Type<User>, properties: UserProperties<User>): void {
  if (!dataSource.hasMetadata(entity)) {
    throw new ExpiringTokenOptionsError(
      'users',
      `${entity.name} is not an entity of the data source`,
      `Add ${entity.name} to its entities, or set autoLoadEntities and import TypeOrmModule.forFeature([${entity.name}]).`,
    );
  }
  const { id, username, password, active } = properties;
  for (const [role, property] of Object.entries({ id, username, password, active })) {
    if (role === 'active' && property === undefined) continue;
    const column = property && dataSource.getMetadata(entity).findColumnWithPropertyName(property);
    if (!column) {
      throw new ExpiringTokenOptionsError(
        'users',
        `${entity.name} has no column ${formatValue(property)} for ${role}`,
        'Give typeOrmUsers the names of properties of the entity.',
      );
    }
    if (!column.isSelect && role !== 'password') {
      throw new ExpiringTokenOptionsError(
        'users',
        `${entity.name}.${property} has select: false`,
        'Remove it: only the password may be left out when a user is loaded.',
      );
    }
  }
}
