import type { MigrationInterface, QueryRunner } from 'typeorm';
import { lockTableName } from '../database/lock-table.js';
import { databaseOf, tableNameOf } from './tables/auth-table.js';

/** The name of the table for statements. */
function quotedName(queryRunner: QueryRunner): string {
  const { dataSource } = databaseOf(queryRunner);
  const { schema } = dataSource.options as { schema?: string };
  const name = lockTableName(tableNameOf(dataSource, 'Token', 'auth_token'));
  return [...(schema ? [schema] : []), name].map((part) => dataSource.driver.escape(part)).join('.');
}

/** Creates the table `auth_token_lock`, whose rows transactions lock. SQLite needs none, because it has one writer at a time. */
export class CreateAuthTokenLock1795910400001 implements MigrationInterface {
  /** The name under which TypeORM records the migration. It is written out, because minified code has another class name. */
  readonly name = 'CreateAuthTokenLock1795910400001';

  /** Creates the table, unless a running application has created it. */
  async up(queryRunner: QueryRunner): Promise<void> {
    const { locks } = databaseOf(queryRunner).dialect;
    if (locks) await queryRunner.query(locks.create(quotedName(queryRunner)));
  }

  /** Drops the table. It contains nothing that lasts. */
  async down(queryRunner: QueryRunner): Promise<void> {
    const { locks } = databaseOf(queryRunner).dialect;
    if (locks) await queryRunner.query(`DROP TABLE IF EXISTS ${quotedName(queryRunner)}`);
  }
}
