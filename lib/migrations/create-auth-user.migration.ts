import type { MigrationInterface, QueryRunner, TableColumnOptions } from 'typeorm';
import { authTable, type Dialect } from './auth-table.js';

// What the table was on the day of this migration, written out: the entity goes on changing, and this does not.
const TYPES: Record<Dialect, Record<'key' | 'username' | 'password' | 'active', Omit<TableColumnOptions, 'name'>>> = {
  sqlite: {
    key: { type: 'varchar' },
    username: { type: 'varchar', length: '255' },
    password: { type: 'varchar', length: '255' },
    active: { type: 'boolean', default: '1' },
  },
  postgres: {
    key: { type: 'uuid' },
    username: { type: 'character varying', length: '255' },
    password: { type: 'character varying', length: '255' },
    active: { type: 'boolean', default: 'true' },
  },
  mysql: {
    key: { type: 'varchar', length: '36', charset: 'ascii', collation: 'ascii_bin' },
    username: { type: 'varchar', length: '255', charset: 'utf8mb4', collation: 'utf8mb4_bin' },
    password: { type: 'varchar', length: '255' },
    active: { type: 'tinyint', default: '1' },
  },
};

const table = (queryRunner: QueryRunner) =>
  authTable(queryRunner, {
    entity: 'User',
    name: 'auth_user',
    columns: (dialect) => {
      const { key, username, password, active } = TYPES[dialect];
      return {
        id: { name: 'id', ...key, isPrimary: true },
        username: { name: 'username', ...username },
        password: { name: 'password', ...password, isNullable: true },
        active: { name: 'active', ...active },
      };
    },
    uniques: [['username']],
  });

/** Makes the table `auth_user` of the entity `User`, for the built-in store. */
export class CreateAuthUser1795564800001 implements MigrationInterface {
  /** What TypeORM remembers it by, also where the code is minified. */
  readonly name = 'CreateAuthUser1795564800001';

  /** Makes the table. */
  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.createTable(table(queryRunner));
  }

  /** Drops the table, and with it all users. */
  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.dropTable(table(queryRunner).name);
  }
}
