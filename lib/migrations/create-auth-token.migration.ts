import type { MigrationInterface, QueryRunner, TableColumnOptions } from 'typeorm';
import { authTable, type Dialect } from './auth-table.js';

// What the table was on the day of this migration, written out: the entity goes on changing, and this does not.
const TYPES: Record<Dialect, Record<'uuid' | 'digest' | 'sealed' | 'text', Omit<TableColumnOptions, 'name'>>> = {
  sqlite: {
    uuid: { type: 'varchar', length: '36' },
    digest: { type: 'blob' },
    sealed: { type: 'blob' },
    text: { type: 'varchar' },
  },
  postgres: {
    uuid: { type: 'uuid' },
    digest: { type: 'bytea' },
    sealed: { type: 'bytea' },
    text: { type: 'character varying' },
  },
  mysql: {
    uuid: { type: 'binary', length: '16' },
    digest: { type: 'binary', length: '32' },
    sealed: { type: 'varbinary', length: '255' },
    text: { type: 'varchar', charset: 'utf8mb4', collation: 'utf8mb4_bin' },
  },
};

const table = (queryRunner: QueryRunner) =>
  authTable(queryRunner, {
    entity: 'Token',
    name: 'auth_token',
    withoutRowid: true,
    columns: (dialect) => {
      const { uuid, digest, sealed, text } = TYPES[dialect];
      return {
        id: { name: 'id', ...uuid, isPrimary: true },
        userId: { name: 'user_id', ...text, length: '255' },
        deviceId: { name: 'device_id', ...uuid },
        purpose: { name: 'purpose', ...text, length: '16' },
        digest: { name: 'digest', ...digest },
        name: { name: 'name', ...text, length: '255', isNullable: true },
        userAgent: { name: 'user_agent', ...text, length: '255', isNullable: true },
        created: { name: 'created', type: 'bigint' },
        lifespan: { name: 'lifespan', type: 'bigint', isNullable: true },
        lastUsedAt: { name: 'last_used_at', type: 'bigint', isNullable: true },
        sealed: { name: 'sealed', ...sealed, isNullable: true },
        sealedUntil: { name: 'sealed_until', type: 'bigint', isNullable: true },
      };
    },
    indices: [['userId'], ['sealedUntil', 'purpose', 'lifespan', 'created']],
  });

/** Makes the table `auth_token` of the entity `Token`. */
export class CreateAuthToken1795564800000 implements MigrationInterface {
  /** What TypeORM remembers it by, also where the code is minified. */
  readonly name = 'CreateAuthToken1795564800000';

  /** Makes the table and its indexes. */
  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.createTable(table(queryRunner));
  }

  /** Drops the table, and with it all tokens. */
  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.dropTable(table(queryRunner).name);
  }
}
