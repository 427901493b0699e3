import type { MigrationInterface } from 'typeorm';
import { AddTokenColumns1795910400000 } from '../add-token-columns.migration.js';
import { CreateAuthTokenLock1795910400001 } from '../create-auth-token-lock.migration.js';
import { CreateAuthToken1795564800000 } from '../create-auth-token.migration.js';
import { CreateAuthUser1795564800001 } from '../create-auth-user.migration.js';

export {
  AddTokenColumns1795910400000,
  CreateAuthToken1795564800000,
  CreateAuthTokenLock1795910400001,
  CreateAuthUser1795564800001,
};

/** The migrations without those of the table `auth_user`, for an application that has its own `UserStore`. */
export const tokenMigrations: (new () => MigrationInterface)[] = [
  CreateAuthToken1795564800000,
  AddTokenColumns1795910400000,
  CreateAuthTokenLock1795910400001,
];

/**
 * All migrations of the package, for SQLite, PostgreSQL, MariaDB and MySQL. They create the tables `auth_token` and `auth_user`
 * with their indexes, and on a database server the table `auth_token_lock`, with the names that the data source's naming strategy gives them.
 *
 * @example
 * ```ts
 * TypeOrmModule.forRoot({ type: 'postgres', url, autoLoadEntities: true, migrations, migrationsRun: true })
 * ```
 */
export const migrations: (new () => MigrationInterface)[] = [
  CreateAuthToken1795564800000,
  CreateAuthUser1795564800001,
  AddTokenColumns1795910400000,
  CreateAuthTokenLock1795910400001,
];
