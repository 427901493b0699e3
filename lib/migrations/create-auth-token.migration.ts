import type { MigrationInterface, QueryRunner } from 'typeorm';
import { authTable } from './tables/auth-table.js';

// The table as it was on the day of this migration, written out, because the entity will change and this must not. For the
// same reason a dialect never changes the type of a released kind of column.
const table = (queryRunner: QueryRunner) =>
  authTable(queryRunner, {
    entity: 'Token',
    name: 'auth_token',
    withoutRowid: true,
    columns: {
      id: { name: 'id', type: 'uuid', kind: 'uuid', isPrimary: true },
      userId: { name: 'user_id', type: 'varchar', kind: 'text', length: '255' },
      deviceId: { name: 'device_id', type: 'uuid', kind: 'uuid' },
      purpose: { name: 'purpose', type: 'varchar', kind: 'text', length: '16' },
      digest: { name: 'digest', type: 'varchar', kind: 'digest' },
      name: { name: 'name', type: 'varchar', kind: 'text', length: '255', isNullable: true },
      userAgent: { name: 'user_agent', type: 'varchar', kind: 'text', length: '255', isNullable: true },
      created: { name: 'created', type: 'bigint' },
      lifespan: { name: 'lifespan', type: 'bigint', isNullable: true },
      lastUsedAt: { name: 'last_used_at', type: 'bigint', isNullable: true },
      sealed: { name: 'sealed', type: 'varchar', kind: 'sealed', isNullable: true },
      sealedUntil: { name: 'sealed_until', type: 'bigint', isNullable: true },
    },
    indices: [['userId'], ['sealedUntil', 'purpose', 'lifespan', 'created']],
  });

/** Creates the table `auth_token` of the entity `Token`. */
export class CreateAuthToken1795564800000 implements MigrationInterface {
  /** The name under which TypeORM records the migration. It is written out, because minified code has another class name. */
  readonly name = 'CreateAuthToken1795564800000';

  /** Creates the table and its indexes. */
  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.createTable(table(queryRunner));
  }

  /** Drops the table, and all tokens with it. */
  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.dropTable(table(queryRunner).name);
  }
}
