import { Inject, Injectable, mixin, type Type } from '@nestjs/common';
import { type DataSource, type FindManyOptions, type FindOptionsWhere, In, type ObjectLiteral } from 'typeorm';
import type { Database, Row, TransactionScript } from '../database/database.js';
import { classifyDriverError } from '../errors/driver-errors.js';
import { type Selection, Table } from '../database/table.js';
import { withTimeout } from '../async/with-timeout.js';
import { DATA_SOURCE, DATABASE, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import { PackageLogger } from '../errors/package.logger.js';
import { HideFromInspect } from '../errors/hide-from-inspect.decorator.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { checkUserEntity } from './user-entity-checks.js';
import { isLoadedFromRow, isOfEntity, isSoftDeleted, type UserProperties } from './user-entity.js';
import { lookUpTurn, strengthenHash } from './password-hash.js';
import { PasswordVerifier, type VerifyHash } from './password-verifier.js';
import {
  CREDENTIAL_CHECKS,
  type CredentialChecks,
  type Credentials,
  type JoinableUserStore,
  type TransactionalUserStore,
  USER_JOIN,
  type UserJoin,
  type UserStore,
  type VerifiedState,
} from './user-store.js';

const logger = new PackageLogger();

/** The id of nobody in a column of UUIDs (RFC 9562 §5.9). */
const NIL_UUID = '00000000-0000-0000-0000-000000000000';

/** Some drivers return 1. Another truthy value, for example the buffer of a bit column, may mean false. */
const isTrue = (value: unknown): boolean => value === true || value === 1;

/** Options of `typeOrmUsers`. */
export interface TypeOrmUsersOptions {
  /**
   * Checks hashes of another kind than Argon2id, for example by bcrypt. A hash that it accepts is replaced by an Argon2id hash.
   *
   * Each login then computes a hash of either kind, so that its duration tells neither whether a user exists nor which kind of hash
   * is stored. This holds as soon as the process has seen one hash of the other kind, and as long as all of these cost the same.
   *
   * @defaultValue none: only Argon2id hashes are verified
   */
  verify?: VerifyHash;
}

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
  { verify }: TypeOrmUsersOptions = {},
): Type<TypeOrmUserStore<User>> {
  const { id, username, password, active } = properties;

  @HideFromInspect()
  @Injectable()
  class UserStoreOverEntity implements TypeOrmUserStore<User>, JoinableUserStore<User>, TransactionalUserStore<User> {
    private readonly table: Table<User, ObjectLiteral>;
    private readonly selection: Selection<User, ObjectLiteral>;
    private readonly isLoadedFromRow: boolean;
    private readonly passwords = new PasswordVerifier(verify);
    /** By the credentials that were accepted, and not by user: a subclass may return the same object to several logins. */
    private readonly accepted = new WeakMap<Credentials, { id: string; hash: string }>();
    readonly [CREDENTIAL_CHECKS]: CredentialChecks<User> = {
      verifiedHash: (user, credentials) => {
        const accepted = this.accepted.get(credentials);
        return accepted?.id === String(user[id]) ? accepted.hash : undefined;
      },
      currentHash: (user) => this.currentHash(user),
      verifyAgain: (user, hash) => this.verifyAgain(user, hash),
    };

    constructor(
      @Inject(DATA_SOURCE) private readonly dataSource: DataSource,
      @Inject(DATABASE) private readonly database: Database,
      @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    ) {
      checkUserEntity(dataSource, entity, properties);
      this.table = new Table(dataSource, entity);
      this.selection = this.table.selection('u', ({ isSelect, isVirtual }) => isSelect && !isVirtual);
      this.isLoadedFromRow = isLoadedFromRow(
        dataSource,
        this.table.metadata,
        database.dialect.columnTypesDecodedDifferently,
      );
    }

    async findById(userId: string): Promise<User | null> {
      const [user] =
        (await this.read((signal) => this.readEntities({ [id]: userId } as FindOptionsWhere<User>, signal))) ?? [];
      // MySQL compares a number with text by its leading digits: it finds id 1 for '1abc'.
      return user && this.getId(user) === userId ? user : null;
    }

    async findByUsername(name: string): Promise<User | null> {
      return this.load(await this.findRow(name));
    }

    async findByIds(ids: readonly string[]): Promise<User[]> {
      // What a subclass adds to the look-up of one user, for example a check of the tenant, applies here too.
      if (this.overridesFindById()) {
        const users = await Promise.all(ids.map((userId) => this.findById(userId)));
        return users.filter((user) => user !== null);
      }
      return this.runWithTimeout((signal) => this.readEntities({ [id]: In(ids) } as FindOptionsWhere<User>, signal));
    }

    [USER_JOIN](userId: string): UserJoin<User> | null {
      if (!this.isReadFromRow()) return null;
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

    async validateCredentials(credentials: Credentials): Promise<User | null> {
      const { username: name, password: plain } = credentials;
      const hashOf = (found: Row | undefined) => found && this.table.readColumn(found, password);
      await lookUpTurn();
      let row = await this.findRow(name);
      for (;;) {
        const stored = hashOf(row);
        const isRight = await this.passwords.verify(stored, plain);
        // The password may have been changed while this hash waited in the queue: then the new one counts. The row is read
        // again in any case: the response time must not reveal whether the user exists.
        row = await this.findRow(name);
        if (typeof stored === 'string' && hashOf(row) !== stored) continue;
        const user = await this.load(isRight ? row : undefined);
        if (!user || !row) return null;
        // The login succeeds even if this fails. For an inactive user, who is rejected, no second hash is computed.
        const storedId = this.table.readColumn(row, id);
        const verified = stored as string;
        const hash = this.isActive(user)
          ? await this.strengthen(storedId, verified, plain).catch(() => verified)
          : verified;
        this.accepted.set(credentials, { id: String(storedId), hash });
        return user;
      }
    }

    getId(user: User): string {
      return String(user[id]);
    }

    isActive(user: User): boolean {
      return active === undefined || isTrue(user[active]);
    }

    private *verifyAgain(user: User, hash: unknown): TransactionScript<VerifiedState> {
      const { rows } = yield this.table.select({ [id]: user[id] });
      const row = this.rowOf(user, rows);
      if (!row) return 'inactive';
      // The column, and not `isActive` of a subclass, which may need relations that the row does not contain.
      if (active !== undefined && !isTrue(this.table.readColumn(row, active))) return 'inactive';
      return hash === undefined || this.table.readColumn(row, password) === hash ? 'valid' : 'changed';
    }

    private async currentHash(user: User): Promise<unknown> {
      const select = this.table.select({ [id]: user[id] });
      const row = this.rowOf(user, await this.runWithTimeout((signal) => this.database.read(select, signal)));
      return row ? this.table.readColumn(row, password) : null;
    }

    private rowOf(user: User, rows: readonly Row[]): Row | undefined {
      return rows.find((row) => String(this.table.readColumn(row, id)) === String(user[id]) && this.isVisible(row));
    }

    /** Whether a subclass has its own `findById`. */
    private overridesFindById(): boolean {
      return Reflect.get(this, 'findById') !== Reflect.get(UserStoreOverEntity.prototype, 'findById');
    }

    /** Whether users can be read from their rows. A subscriber may have been added after start-up. */
    private isReadFromRow(): boolean {
      const hasSubscriber = this.dataSource.subscribers.some((subscriber) => 'afterLoad' in subscriber);
      return this.isLoadedFromRow && !hasSubscriber && !this.overridesFindById();
    }

    /**
     * Returns the user of a row as a request gets it: read from the row, or by `findById` with eager relations, listeners and
     * what a subclass adds. Without a row it looks up nobody, which takes as long.
     */
    private async load(row: Row | undefined): Promise<User | null> {
      if (this.isReadFromRow()) return row ? this.table.read(row) : null;
      const nobody = this.table.comparedColumn(id).type === 'uuid' ? NIL_UUID : '0';
      const user = await this.findById(row ? String(this.table.readColumn(row, id)) : nobody);
      return row ? user : null;
    }

    /** Whether TypeORM loads a row. */
    private isVisible(row: Row): boolean {
      return isOfEntity(this.table.metadata, row) && !isSoftDeleted(this.table.metadata, row);
    }

    /** Finds the row whose name is exactly equal, among those that the collation of the column treats as equal. */
    private async findRow(name: string): Promise<Row | undefined> {
      // PostgreSQL rejects NUL in text, so no user name contains it.
      if (name.includes('\0')) return undefined;
      const select = this.table.select({ [username]: name });
      const rows = (await this.read((signal) => this.database.read(select, signal))) ?? [];
      const exact = rows.filter((row) => this.table.readColumn(row, username) === name && this.isVisible(row));
      if (exact.length > 1) {
        logger.error(
          `Two rows of ${entity.name} have the same ${username}, so neither can log in: make the column unique, or rename one user`,
        );
        return undefined;
      }
      return exact[0];
    }

    /**
     * Reads users in TypeORM's way, and never from its query cache: a user who was deactivated or deleted would stay in it.
     * Eager relations are joined if TypeORM caches every query, because it would cache queries for relations too.
     */
    private readEntities(criteria: FindOptionsWhere<User>, signal: AbortSignal): Promise<User[]> {
      const { cache } = this.dataSource.options;
      const cachesAll = typeof cache === 'object' && cache.alwaysEnabled === true;
      const options: FindManyOptions<User> = {
        where: criteria,
        cache: false,
        ...(cachesAll ? { relationLoadStrategy: 'join' as const } : {}),
      };
      return this.database.readEntities((manager) => manager.getRepository(entity).find(options), signal);
    }

    /**
     * Replaces the hash that was verified if it is weaker than new ones, unless it was changed in the meantime. Returns the
     * hash of the row, as far as it is known.
     */
    private async strengthen(storedId: unknown, stored: string, plain: string): Promise<string> {
      const stronger = await strengthenHash(stored, plain);
      if (stronger === null) return stored;
      const change = this.table.update({ [password]: stronger }, { [id]: storedId, [password]: stored });
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
