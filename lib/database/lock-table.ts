import { createHash } from 'node:crypto';
import type { DataSource, EntityMetadata } from 'typeorm';

/** Maximum length of a name in bytes: PostgreSQL cuts a longer one, and MySQL refuses one of more than 64 characters. */
const MAX_NAME_BYTES = 63;

/** The maximum number of rows. Two locks that share a row block each other, although they need not. */
const STRIPES = 65_536;

/** The name of the table of locks beside a table of tokens. */
export function lockTableName(tokenTable: string): string {
  const name = `${tokenTable}_lock`;
  if (Buffer.byteLength(name) <= MAX_NAME_BYTES) return name;
  const digest = createHash('sha256').update(tokenTable).digest('hex').slice(0, 16);
  return `${[...tokenTable].slice(0, 8).join('')}_${digest}_lock`;
}

/** The row of a lock. */
export const stripeOf = (lock: string): number => createHash('sha256').update(lock).digest().readUInt32BE() % STRIPES;

/** The application cannot use the table of locks, so it cannot change tokens. */
export class LockTableError extends Error {
  override readonly name = 'LockTableError';

  constructor(
    readonly problem: string,
    readonly remedy: string,
  ) {
    super(`${problem}. ${remedy}`);
  }
}

/**
 * The names of the table of locks. It is not an entity: an application need not list it, and TypeORM does not create or change it.
 */
export class LockTable {
  /** For messages. */
  readonly path: string;
  /** For statements. */
  readonly name: string;
  /** The table of tokens, beside which it is, for statements. */
  readonly tokenTable: string;
  private readonly names: readonly string[];

  constructor(
    private readonly dataSource: DataSource,
    { tablePath }: EntityMetadata,
  ) {
    const names = tablePath.split('.');
    this.names = [...names.slice(0, -1), lockTableName(names.at(-1)!)];
    this.path = this.names.join('.');
    this.name = this.quote(this.names);
    this.tokenTable = this.quote(names);
  }

  /** The name with the schema, for statements. */
  in(schema: string): string {
    return this.names.length > 1 ? this.name : this.quote([schema, ...this.names]);
  }

  private quote(names: readonly string[]): string {
    return names.map((name) => this.dataSource.driver.escape(name)).join('.');
  }
}
