import { rm } from 'node:fs/promises';
import { Token, User } from 'nestjs-expiring-token';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { bareStatements, type DatabaseName, type Filling, fillingStatements, tokenIdIn } from './fill.js';

/** What a table and its indexes take on the disk, in bytes. */
export interface Sizes {
  table: number;
  /** By the columns of each. */
  indexes: Record<string, number>;
}

/** SQL for the bytes of `auth_token` and of each of its indexes, by name. */
const SIZES: Record<DatabaseName, string> = {
  postgres: `SELECT relname AS name, pg_relation_size(oid) AS bytes FROM pg_class
    WHERE oid = 'auth_token'::regclass OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'auth_token'::regclass)`,
  mariadb: `SELECT index_name AS name, stat_value * @@innodb_page_size AS bytes FROM mysql.innodb_index_stats
    WHERE database_name = DATABASE() AND table_name = 'auth_token' AND stat_name = 'size'`,
  sqlite: `SELECT name, SUM(pgsize) AS bytes FROM dbstat WHERE name IN
    (SELECT name FROM sqlite_master WHERE tbl_name = 'auth_token') GROUP BY name`,
};

/** Tokens are looked for in parts: SQLite unites no more selects. */
const MOST_UNITED = 200;

/** The tables of the package, filled, in a database of their own. */
export class FilledTable {
  private constructor(
    readonly name: DatabaseName,
    readonly options: DataSourceOptions,
    private readonly source: DataSource,
    private readonly filling: Filling,
  ) {}

  static async fill(name: DatabaseName, options: DataSourceOptions, filling: Filling): Promise<FilledTable> {
    const source = await new DataSource({ ...options, entities: [Token, User], synchronize: true }).initialize();
    // As the package would, when it starts.
    if (name === 'sqlite') await source.query('PRAGMA journal_mode = WAL');
    const table = new FilledTable(name, options, source, filling);
    await table.run(fillingStatements(name, filling));
    return table;
  }

  /** Puts a table beside it, `bare`, that has as many rows and a number for its primary key. */
  addBare(): Promise<void> {
    return this.run(bareStatements(this.name));
  }

  /** Ids of tokens at random, as the driver takes them. */
  async randomIds(count: number): Promise<unknown[]> {
    const ids: unknown[] = [];
    const id = tokenIdIn(this.name, this.filling);
    while (ids.length < count) {
      const numbers = Array.from({ length: MOST_UNITED }, () => 1 + Math.floor(Math.random() * this.filling.tokens));
      const united = numbers.map((number) => `SELECT ${number} AS n`).join(' UNION ALL ');
      // In PostgreSQL the number would be one of 32 bits, too small to reckon with.
      const wide = this.name === 'postgres' ? 'SELECT n::bigint' : 'SELECT n';
      const rows = await this.source.query(`SELECT ${id} AS id FROM (${wide} FROM (${united}) AS few) AS numbers`);
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
      // On PostgreSQL alone the primary key is an index beside the table.
      const indexed = columns ?? (this.name === 'postgres' && name !== 'auth_token' ? 'id' : undefined);
      if (indexed) sizes.indexes[indexed] = Number(bytes);
      else sizes.table += Number(bytes);
    }
    return sizes;
  }

  async close(): Promise<void> {
    await this.source.destroy();
    const { database } = this.options as { database?: string };
    if (this.name === 'sqlite') for (const end of ['', '-wal', '-shm']) await rm(`${database}${end}`, { force: true });
  }

  private async run(statements: readonly string[]): Promise<void> {
    for (const sql of statements) await this.source.query(sql);
    if (this.name !== 'postgres') return;
    await this.source.query('VACUUM ANALYZE');
    await this.source.query('CHECKPOINT');
  }
}
