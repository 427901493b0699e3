import type { MigrationInterface, QueryRunner } from 'typeorm';
import { addColumns, dropColumns } from './tables/added-columns.js';
import { authTable } from './tables/auth-table.js';

// The columns as they were on the day of this migration, written out, because the entity will change and this must not.
const table = (queryRunner: QueryRunner) =>
  authTable(queryRunner, {
    entity: 'Token',
    name: 'auth_token',
    columns: {
      scopes: { name: 'scopes', type: 'varchar', kind: 'text', length: '1000', isNullable: true },
      authenticatedAt: { name: 'authenticated_at', type: 'bigint', isNullable: true },
      address: { name: 'address', type: 'varchar', kind: 'text', length: '45', isNullable: true },
      actorId: { name: 'actor_id', type: 'varchar', kind: 'text', length: '255', isNullable: true },
      data: { name: 'data', type: 'varchar', kind: 'text', length: '1000', isNullable: true },
    },
  });

/**
 * Adds the columns `scopes`, `authenticated_at`, `address`, `actor_id` and `data` to the table `auth_token`. They are nullable,
 * so no database copies the table, and processes of the version before can go on inserting tokens.
 */
export class AddTokenColumns1795910400000 implements MigrationInterface {
  /** The name under which TypeORM records the migration. It is written out, because minified code has another class name. */
  readonly name = 'AddTokenColumns1795910400000';

  /** Adds the columns. */
  async up(queryRunner: QueryRunner): Promise<void> {
    await addColumns(queryRunner, table(queryRunner));
  }

  /**
   * Drops the columns. The version before does not know scopes, so a token with scopes may do everything after that: revoke
   * such tokens first.
   */
  async down(queryRunner: QueryRunner): Promise<void> {
    await dropColumns(queryRunner, table(queryRunner));
  }
}
