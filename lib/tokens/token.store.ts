import type { Type } from '@nestjs/common';
import type { DataSource, EntityMetadata } from 'typeorm';
import type { Database, Result, Row, Script, Statement } from '../database/database.js';
import { openDatabase } from '../database/open-database.js';
import { retrying } from '../database/retry.js';
import type { Token } from './token.entity.js';

/** The columns that this package writes: all but those that an application added. */
export type TokenRow = Pick<
  Token,
  'id' | 'userId' | 'deviceId' | 'purpose' | 'name' | 'userAgent' | 'created' | 'lifespan' | 'lastUsedAt'
> & { digest: Buffer };

/** Rows of one user, or fewer of them. There is no statement over all rows, and none over an undefined value. */
export type OfUser = Pick<TokenRow, 'userId'> & Partial<Pick<TokenRow, 'deviceId' | 'purpose'>>;

/** One row, by primary key. */
export type ById = Pick<TokenRow, 'id'>;

/**
 * All SQL over tokens. Names of columns come from the entity's metadata and values pass its transformers, so that an
 * application's subclass, naming strategy and schema are respected.
 */
export class TokenStore {
  private readonly database: Database;
  private readonly metadata: EntityMetadata;
  private readonly table: string;
  private readonly columns: string;

  constructor(
    private readonly dataSource: DataSource,
    entity: Type<Token>,
  ) {
    this.database = openDatabase(dataSource);
    this.metadata = dataSource.getMetadata(entity);
    this.table = this.metadata.tablePath.split('.').map(this.quote).join('.');
    this.columns = this.metadata.columns.map((column) => this.quote(column.databaseName)).join(', ');
  }

  /** Runs one statement. */
  run(statement: Statement, signal: AbortSignal): Promise<Result> {
    return this.database.run(statement, signal);
  }

  /** Runs the statements of a script in one transaction, alone among those of the same user. */
  serially<T>(userId: string, script: () => Script<T>, signal: AbortSignal): Promise<T> {
    return retrying(() => this.database.transaction(userId, script, signal));
  }

  /** The tokens that a {@link select} returned, with the columns that the application added. */
  tokens({ rows }: Result): Token[] {
    return rows.map((row) => {
      const token = this.metadata.create() as Token;
      for (const column of this.metadata.columns) {
        if (column.isSelect) column.setEntityValue(token, this.read(row, column));
      }
      return token;
    });
  }

  /** A token as it was inserted, without the columns that the application added. */
  tokenOf({ digest, ...row }: TokenRow): Token {
    return Object.assign(this.metadata.create() as Token, row);
  }

  /** The digests of the same rows, which are kept apart so that no token can show one. */
  digests({ rows }: Result): Buffer[] {
    return rows.map((row) => this.read(row, this.column('digest')) as Buffer);
  }

  select(criteria: OfUser | ById): Statement {
    const where = this.pairs(criteria, ' = ?');
    return { sql: `SELECT ${this.columns} FROM ${this.table} WHERE ${where.sql.join(' AND ')}`, values: where.values };
  }

  insert(row: TokenRow): Statement {
    const { sql, values } = this.pairs(row, '');
    const marks = values.map(() => '?').join(', ');
    return { sql: `INSERT INTO ${this.table} (${sql.join(', ')}) VALUES (${marks})`, values };
  }

  update(change: Partial<TokenRow>, criteria: OfUser | ById): Statement {
    const set = this.pairs(change, ' = ?');
    const where = this.pairs(criteria, ' = ?');
    return {
      sql: `UPDATE ${this.table} SET ${set.sql.join(', ')} WHERE ${where.sql.join(' AND ')}`,
      values: [...set.values, ...where.values],
    };
  }

  /** @param except - rows that stay */
  remove(criteria: OfUser | ById, except: Partial<Pick<TokenRow, 'deviceId'>> = {}): Statement {
    const where = this.pairs(criteria, ' = ?');
    const unless = this.pairs(except, ' <> ?');
    return {
      sql: `DELETE FROM ${this.table} WHERE ${[...where.sql, ...unless.sql].join(' AND ')}`,
      values: [...where.values, ...unless.values],
    };
  }

  /** Each property as its quoted column with something behind it, and its value as the driver takes it. */
  private pairs(properties: Partial<TokenRow>, suffix: string): { sql: string[]; values: Statement['values'] } {
    const entries = Object.entries(properties).map(([property, value]) => {
      if (value === undefined) throw new TypeError(`${property} is undefined`);
      return { column: this.column(property), value };
    });
    return {
      sql: entries.map(({ column }) => this.quote(column.databaseName) + suffix),
      values: entries.map(({ column, value }) => this.dataSource.driver.preparePersistentValue(value, column)),
    };
  }

  private read(row: Row, column: EntityMetadata['columns'][number]): unknown {
    return this.dataSource.driver.prepareHydratedValue(row[column.databaseName], column);
  }

  private column(property: string) {
    return this.metadata.findColumnWithPropertyName(property)!;
  }

  private readonly quote = (name: string) => this.dataSource.driver.escape(name);
}
