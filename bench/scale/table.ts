import { rm } from 'node:fs/promises';
import { Token, User } from 'nestjs-expiring-token';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { bareStatements, type DatabaseName, type Filling, fillingStatements, tokenIdIn } from './fill.js';

/** Disk space of a table and of its indexes, in bytes. */
export interface Sizes {
  table: number;
  /** Keys are the columns of each index. */
  indexes: Record<string, number>;
}

/** SQL for the size of `auth_token` and of each of its indexes, with names. */
const SIZES: Record<DatabaseName, string> = {
  postgres: `SELECT relname AS name, pg_relation_size(oid) AS bytes FROM pg_class
    WHERE oid = 'auth_token'::regclass OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'auth_token'::regclass)`,
  mariadb: `SELECT index_name AS name, stat_value * @@innodb_page_size AS bytes FROM mysql.innodb_index_stats
    WHERE database_name = DATABASE() AND table_name = 'auth_token' AND stat_name = 'size'`,
  sqlite: `SELECT name, SUM(pgsize) AS bytes FROM dbstat WHERE name IN
    (SELECT name FROM sqlite_master WHERE tbl_name = 'auth_token') GROUP BY name`,
};

/** Batch size of {@link FilledTable.randomIds}: SQLite limits the number of SELECTs in a UNION. */
const MAX_UNION_SELECTS = 200;

/** The filled tables of the package, in a separate database. */
export class FilledTable {
  private constructor(
    readonly name: DatabaseName,
    readonly options: DataSourceOptions,
    private readonly source: DataSource,
    private readonly filling: Filling,
  ) {}

  static async fill(name: DatabaseName, options: DataSourceOptions, filling: Filling): Promise<FilledTable> {
    const source = await new DataSource({ ...options, entities: [Token, User], synchronize: true }).initialize();
    // The package does the same at startup.
    if (name === 'sqlite') await source.query('PRAGMA journal_mode = WAL');
    const table = new FilledTable(name, options, source, filling);
    await table.run(fillingStatements(name, filling));
    return table;
  }

  /** Adds a table `bare` with the same number of rows, whose primary key is a number. */
  addBare(): Promise<void> {
    return this.run(bareStatements(this.name));
  }

  /** Ids of random tokens, in the form that the driver accepts. */
  async randomIds(count: number): Promise<unknown[]> {
    const ids: unknown[] = [];
    const id = tokenIdIn(this.name, this.filling);
    while (ids.length < count) {
      const numbers = Array.from(
        { length: MAX_UNION_SELECTS },
        () => 1 + Math.floor(Math.random() * this.filling.tokens),
      );
      const union = numbers.map((number) => `SELECT ${number} AS n`).join(' UNION ALL ');
      // PostgreSQL would use 32-bit numbers, which overflow in the calculation of the id.
      const wide = this.name === 'postgres' ? 'SELECT n::bigint' : 'SELECT n';
      const rows = await this.source.query(`SELECT ${id} AS id FROM (${wide} FROM (${union}) AS chosen) AS numbers`);
      ids.push(...rows.map((row: { id: unknown }) => row.id));
    }
    return ids.slice(0, count);
  }

  async sizes(): Promise<Sizes> {
    const { indices } = this.source.getMetadata(Token);
    const sizes: Sizes = { table: 0, indexes: {} };
    const rows: { name: string; bytes: unknown }[] = await this.source.query(SIZES[this.name]);
    for (const { name, bytes } of rows) {
      const index = indices.find((candidate) => candidate.name === name);
      const columns = index?.columns.map(({ databaseName }) => databaseName).join(', ');
      // Only on PostgreSQL is the primary key an index apart from the table.
      const indexed = columns ?? (this.name === 'postgres' && name !== 'auth_token' ? 'id' : undefined);
      if (indexed) sizes.indexes[indexed] = Number(bytes);
      else sizes.table += Number(bytes);
    }
    return sizes;
  }

  async close(): Promise<void> {
    await this.source.destroy();
    const { database } = this.options as { database?: string };
    if (this.name === 'sqlite')
      for (const suffix of ['', '-wal', '-shm']) await rm(`${database}${suffix}`, { force: true });
  }

  private async run(statements: readonly string[]): Promise<void> {
    for (const sql of statements) await this.source.query(sql);
    if (this.name !== 'postgres') return;
    await this.source.query('VACUUM ANALYZE');
    await this.source.query('CHECKPOINT');
  }
}
