import type { EventEmitter } from 'node:events';
import { Logger } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import { describeError } from '../errors/describe-error.js';
import type { ComparedColumn, Join, Result, Row, AliasedTable, SqlValue, Statement } from './database.js';
import { hashLock, ServerDatabase } from './server.database.js';

/** The part of a `pg` client that is used here. */
interface PostgresClient {
  query(statement: string | PreparedStatement): Promise<{ rows: Row[]; rowCount: number | null }>;
  end(): Promise<void>;
}

interface PreparedStatement {
  name?: string;
  text: string;
  values: readonly unknown[];
}

/** Errors of a prepared statement that is not what it was when it was prepared. */
const UNPREPARED = ['0A000', '26000', '42P05'];

/** The value that a text holds, null if it holds none: an error would be that of everybody in the statement. */
const uuidIn = (text: string) =>
  `CASE WHEN ${text} ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN ${text}::uuid END`;
// Of as many digits there are numbers that are too large. They become the largest, which is not what is sought.
const integerIn = (text: string) =>
  `CASE WHEN ${text} ~ '^-{0,1}[0-9]{1,19}$'` +
  ` THEN LEAST(GREATEST(${text}::numeric, -9223372036854775808), 9223372036854775807)::bigint END`;
const itself = (text: string) => text;

/** By the type of a column, the value in a text that it is compared with. */
const VALUES_IN: Partial<Record<string, (text: string) => string>> = {
  uuid: uuidIn,
  smallint: integerIn,
  integer: integerIn,
  bigint: integerIn,
  'character varying': itself,
  text: itself,
};

/** PostgreSQL, through `pg`. */
export class PostgresDatabase extends ServerDatabase<PostgresClient> {
  readonly seesOrderBehindNull = false;
  readonly columnTypesDecodedDifferently = [];
  private readonly logger = new Logger('ExpiringToken');
  private readonly statements = new Map<string, { name: string; text: string }>();
  /** Whether prepared statements stay prepared: a pooler between may lend another connection for each. */
  private prepares = true;

  constructor(dataSource: DataSource) {
    super(dataSource);
    const { master } = dataSource.driver as unknown as { master?: EventEmitter };
    // TypeORM listens a moment after a connection is made. One that the server ended before would end the process.
    master?.on('connect', (client: EventEmitter) => client.on('error', () => undefined));
  }

  anyOf(column: string, values: readonly SqlValue[]): Statement {
    // Of a list that it sees, PostgreSQL plans each length anew. One that is made up while it runs has any length.
    return { sql: `${column} = ANY(ARRAY(SELECT unnest(?::uuid[])))`, values: [values] };
  }

  castText(text: string, column: ComparedColumn): string | null {
    const type = this.dataSource.driver.normalizeType(column);
    return column.transformer || column.collation ? null : (VALUES_IN[type]?.(text) ?? null);
  }

  /** It expects more tokens than there are, and would read a whole table of some thousand users for a join on a condition. */
  leftJoin({ alias, table, columns, names }: AliasedTable, condition: string): Join {
    const one = `SELECT ${columns} FROM ${table} WHERE ${condition} LIMIT 1`;
    return { columns: names, clause: `LEFT JOIN LATERAL (${one}) ${alias} ON true` };
  }

  /** By a name, PostgreSQL plans a statement once for each connection, and not each time. */
  protected async send(client: PostgresClient, { sql, values }: Statement): Promise<Result> {
    const { name, text } = this.prepare(sql);
    try {
      const { rows, rowCount } = await client.query(this.prepares ? { name, text, values } : { text, values });
      return { rows, affected: rowCount ?? 0 };
    } catch (error) {
      if (this.prepares && UNPREPARED.includes((error as { code: string }).code)) {
        this.prepares = false;
        this.logger.warn(`PostgreSQL keeps no prepared statements, so it plans each one anew: ${describeError(error)}`);
      }
      throw error;
    }
  }

  private prepare(sql: string): { name: string; text: string } {
    const known = this.statements.get(sql);
    if (known) return known;
    let position = 0;
    const text = sql.replaceAll('?', () => `$${++position}`);
    const name = `expiring-token:${hashLock(sql).toString('base64url')}`;
    const prepared = { name, text };
    this.statements.set(sql, prepared);
    return prepared;
  }

  protected command(client: PostgresClient, sql: string): Promise<unknown> {
    return client.query(sql);
  }

  protected close(client: PostgresClient): void {
    void client.end().catch(() => undefined);
  }

  protected async begin(client: PostgresClient, lock: string): Promise<void> {
    const key = hashLock(lock).readBigInt64BE();
    await client.query(`BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock(${key})`);
  }
}
