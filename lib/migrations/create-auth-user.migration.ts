import type { MigrationInterface, QueryRunner } from 'typeorm';
import { authTable } from './tables/auth-table.js';

// The table as it was on the day of this migration, written out, because the entity will change and this must not. For the
// same reason a dialect never changes the type of a released kind of column.
const table = (queryRunner: QueryRunner) =>
  authTable(queryRunner, {
    entity: 'User',
    name: 'auth_user',
    columns: {
      id: { name: 'id', type: 'uuid', kind: 'key', isPrimary: true },
      username: { name: 'username', type: 'varchar', kind: 'text', length: '255' },
      password: { name: 'password', type: 'varchar', length: '255', isNullable: true },
      active: { name: 'active', type: 'boolean', default: true },
    },
    uniques: [['username']],
  });

/** Creates the table `auth_user` of the entity `User`, for the built-in store. */
export class CreateAuthUser1795564800001 implements MigrationInterface {
  /** The name under which TypeORM records the migration. It is written out, because minified code has another class name. */
  readonly name = 'CreateAuthUser1795564800001';

  /** Creates the table. */
  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.createTable(table(queryRunner));
  }

  /** Drops the table, and all users with it. */
  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.dropTable(table(queryRunner).name);
  }
}
