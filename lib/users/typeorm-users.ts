import { Inject, Injectable, mixin, type Type } from '@nestjs/common';
import type { DataSource, FindOptionsWhere, ObjectLiteral, Repository } from 'typeorm';
import { availableWithin } from '../database/available.js';
import { DATA_SOURCE, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import { ExpiringTokenOptionsError } from '../expiring-token.options.js';
import type { ResolvedOptions } from '../expiring-token.resolved-options.js';
import { hashPassword, isOutdated, verifyPassword } from './password-hash.js';
import type { Credentials, UserStore } from './user-store.js';

/** The names of an entity's properties that {@link typeOrmUsers} reads. */
export interface UserProperties<User> {
  /** Primary key, or another unique property that never changes. */
  id: keyof User & string;
  /** Unique user name. */
  username: keyof User & string;
  /** Argon2id PHC string, or null for a user without a password. It may have `select: false`. */
  password: keyof User & string;
  /** Whether the user may log in and use tokens. Left out: all may. */
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

  @Injectable()
  class TypeOrmUserStore implements UserStore<User> {
    private readonly repository: Repository<User>;

    constructor(
      @Inject(DATA_SOURCE) dataSource: DataSource,
      @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    ) {
      if (!dataSource.hasMetadata(entity)) {
        throw new ExpiringTokenOptionsError(
          'users',
          `${entity.name} is not an entity of the data source`,
          `Add ${entity.name} to its entities, or set autoLoadEntities and import TypeOrmModule.forFeature([${entity.name}]).`,
        );
      }
      this.repository = dataSource.getRepository(entity);
      for (const property of Object.values(properties) as string[]) {
        if (!this.repository.metadata.findColumnWithPropertyName(property)) {
          throw new ExpiringTokenOptionsError(
            'users',
            `${entity.name} has no column ${JSON.stringify(property)}`,
            'Give typeOrmUsers the names of properties of the entity.',
          );
        }
      }
    }

    async findById(userId: string): Promise<User | null> {
      const user = await this.repository.findOneBy(this.having(id, userId));
      // MySQL finds the row 1 by '1abc'.
      return user && this.getId(user) === userId ? user : null;
    }

    async validateCredentials(credentials: Credentials): Promise<User | null> {
      const user = await this.findByUsername(credentials.username);
      const stored: unknown = user?.[password];
      if (!(await verifyPassword(stored, credentials.password)) || !user) return null;
      if (isOutdated(stored as string)) await this.rehash(user, stored as string, credentials.password);
      if (!this.repository.metadata.findColumnWithPropertyName(password)!.isSelect) delete user[password];
      return user;
    }

    getId(user: User): string {
      return String(user[id]);
    }

    isActive(user: User): boolean {
      return active === undefined || Boolean(user[active]);
    }

    /** Every row that the column's collation takes for the name, of which one at most is it. */
    private async findByUsername(name: string): Promise<User | undefined> {
      // PostgreSQL takes no NUL in a text: no user has one in the name.
      if (name.includes('\0')) return undefined;
      const users = await this.within(() =>
        this.repository
          .createQueryBuilder('user')
          .addSelect(`user.${password}`)
          .where(this.having(username, name))
          .getMany(),
      );
      return users.find((user) => user[username] === name);
    }

    /** Replaces the hash that was verified, and no newer one. The login is right whether this succeeds or not. */
    private async rehash(user: User, stored: string, plain: string): Promise<void> {
      const values: ObjectLiteral = { [password]: await hashPassword(plain) };
      const unchanged = { ...this.having(id, user[id]), ...this.having(password, stored) };
      await this.within(() => this.repository.update(unchanged, values as never)).catch(() => undefined);
    }

    private within<T>(work: () => Promise<T>): Promise<T> {
      return availableWithin(this.options.timeoutMs, work);
    }

    private having(property: keyof User, value: unknown) {
      return { [property]: value } as FindOptionsWhere<User>;
    }
  }

  return mixin(TypeOrmUserStore);
}
