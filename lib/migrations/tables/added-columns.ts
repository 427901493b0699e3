import type { QueryRunner, Table } from 'typeorm';
import { dataSourceOf } from './auth-table.js';

/** Adds all columns of a {@link Table} to the table of its name, which exists. */
export async function addColumns(queryRunner: QueryRunner, table: Table): Promise<void> {
  const sqlite = sqliteStatements(queryRunner, table);
  if (!sqlite) return queryRunner.addColumns(table, table.columns);
  for (const { add } of sqlite) await queryRunner.query(add);
}

/** Drops all columns of a {@link Table} from the table of its name. */
export async function dropColumns(queryRunner: QueryRunner, table: Table): Promise<void> {
  const sqlite = sqliteStatements(queryRunner, table);
  if (!sqlite) return queryRunner.dropColumns(table, table.columns);
  for (const { drop } of sqlite.toReversed()) await queryRunner.query(drop);
}

/** Statements for SQLite, where TypeORM copies the whole table for each change; null on another database. */
function sqliteStatements(queryRunner: QueryRunner, { name, columns }: Table): { add: string; drop: string }[] | null {
  const { driver, options } = dataSourceOf(queryRunner);
  if (options.type !== 'better-sqlite3') return null;
  const start = `ALTER TABLE ${driver.escape(name)}`;
  return columns.map((column) => ({
    add: `${start} ADD COLUMN ${driver.escape(column.name)} ${driver.createFullType(column)}`,
    drop: `${start} DROP COLUMN ${driver.escape(column.name)}`,
  }));
}
