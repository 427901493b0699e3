import { Token, User } from 'nestjs-expiring-token';
import { DataSource, type DataSourceOptions } from 'typeorm';
import type { RowBytes, ServerName } from '../load-model/costs.js';
import { type Filling, fillingStatements } from '../scale/fill.js';

type TableName = 'auth_token' | 'auth_user';

/** SQL for the disk space of a table and of its indexes. On MariaDB the table is an index, that of the primary key. */
const SIZES: Record<ServerName, (table: TableName) => string> = {
  postgres: (table) => `SELECT pg_table_size('${table}') AS data, pg_indexes_size('${table}') AS indexes`,
  mariadb: (table) =>
    `SELECT SUM(IF(index_name = 'PRIMARY', stat_value, 0)) * @@innodb_page_size AS data,` +
    ` SUM(IF(index_name = 'PRIMARY', 0, stat_value)) * @@innodb_page_size AS indexes FROM mysql.innodb_index_stats` +
    ` WHERE database_name = DATABASE() AND table_name = '${table}' AND stat_name = 'size'`,
};

/** PostgreSQL vacuums a table when a fifth of its rows changed, and MariaDB purges all the time. */
const MAINTENANCE: Record<ServerName, string[]> = {
  postgres: ['VACUUM ANALYZE auth_token', 'VACUUM ANALYZE auth_user'],
  mariadb: ['ANALYZE TABLE auth_token, auth_user'],
};

/** How often the last use of each token is written, a fifth of the tokens at a time. */
const PASSES = 3;
const PARTS = 5;

/** SQL for the last use of a random fifth of the tokens. The digest is random. */
const touch: Record<ServerName, (part: number) => string> = {
  postgres: (part) =>
    `UPDATE auth_token SET last_used_at = created + 1000 WHERE get_byte(digest, 0) % ${PARTS} = ${part}`,
  mariadb: (part) => `UPDATE auth_token SET last_used_at = created + 1000 WHERE ORD(digest) % ${PARTS} = ${part}`,
};

/** Fills the tables row by row, stores the last uses of all tokens several times, and returns the bytes per row. */
export async function measureSizes(
  name: ServerName,
  options: DataSourceOptions,
  filling: Filling,
): Promise<{ token: RowBytes; user: RowBytes }> {
  const source = await new DataSource({ ...options, entities: [Token, User], synchronize: true }).initialize();
  const run = async (statements: readonly string[]) => {
    for (const statement of statements) await source.query(statement);
  };
  const sizeOf = async (table: TableName, rows: number): Promise<RowBytes> => {
    const [{ data, indexes }] = await source.query(SIZES[name](table));
    return { table: Math.round(Number(data) / rows), indexes: Math.round(Number(indexes) / rows) };
  };
  try {
    await run(fillingStatements(name, filling));
    for (let at = 0; at < PASSES * PARTS; at++) await run([touch[name](at % PARTS), ...MAINTENANCE[name]]);
    return { token: await sizeOf('auth_token', filling.tokens), user: await sizeOf('auth_user', filling.users) };
  } finally {
    await source.destroy();
  }
}
