import type { Type } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import type { Database, Row, Script, Statement } from '../database/database.js';
import { isUniqueViolation, retrying } from '../database/driver-errors.js';
import { Table } from '../database/table.js';
import type { Token } from './token.entity.js';

/** The columns that this package writes: all but those that an application added. */
export type TokenRow = Pick<
  Token,
  'id' | 'userId' | 'deviceId' | 'purpose' | 'name' | 'userAgent' | 'created' | 'lifespan' | 'lastUsedAt'
> & { digest: Buffer };

/** Rows of one user or fewer of them, or one row. There is no statement over all rows. */
export type TokenCriteria =
  (Pick<TokenRow, 'userId'> & Partial<Pick<TokenRow, 'deviceId' | 'purpose'>>) | Pick<TokenRow, 'id'>;

/** All SQL over tokens: statements, and the two ways to run them. */
export class TokenStore {
  private readonly table: Table<Token, TokenRow>;

  constructor(
    private readonly database: Database,
    dataSource: DataSource,
    entity: Type<Token>,
  ) {
    this.table = new Table(dataSource, entity);
  }

  /** The rows that a {@link select} finds. */
  read(statement: Statement): Promise<Row[]> {
    return this.database.read(statement);
  }

  /** Runs the statements of a script in one transaction, alone among those of the same user; again where an id is taken. */
  serially<T>(userId: string, script: () => Script<T>, signal: AbortSignal): Promise<T> {
    return retrying(() => this.database.transaction(userId, script, signal), isUniqueViolation);
  }

  select(criteria: TokenCriteria): Statement {
    return this.table.select(criteria);
  }

  insert(row: TokenRow): Statement {
    return this.table.insert(row);
  }

  update(change: Partial<TokenRow>, criteria: TokenCriteria): Statement {
    return this.table.update(change, criteria);
  }

  /** @param except - rows that stay */
  remove(criteria: TokenCriteria, except: Partial<Pick<TokenRow, 'deviceId'>> = {}): Statement {
    return this.table.remove(criteria, except);
  }

  /** The tokens of rows. */
  tokens(rows: readonly Row[]): Token[] {
    return rows.map((row) => this.table.read(row));
  }

  /** The digests of the same rows, which are kept apart so that no token can show one. */
  digests(rows: readonly Row[]): Buffer[] {
    return rows.map((row) => this.table.readColumn(row, 'digest') as Buffer);
  }

  /** A token as it was inserted, without the columns that the application added. */
  tokenOf({ digest, ...row }: TokenRow): Token {
    return this.table.create(row);
  }
}
