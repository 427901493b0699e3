import { Inject, Injectable, type Type } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import type { Database, Row } from '../database/database.js';
import type { Dialect, Statement } from '../database/dialect.js';
import { type Selection, Table } from '../database/table.js';
import { DATA_SOURCE, DATABASE, MODULE_EXTRAS } from '../expiring-token.constants.js';
import type { UserJoin } from '../users/user-store.js';
import { expiredCondition, type TokenAge, TokenValidity } from './token-lifetime.js';
import type { TokenPurpose } from './token-purpose.js';
import { Token } from './token.entity.js';

/**
 * What all tokens of a device share. Besides these columns, a value of this type may hold those that the application's
 * subclass added: see {@link TokenQueries.deviceColumnsOf}.
 */
export type DeviceColumns = Pick<
  Token,
  'userId' | 'deviceId' | 'name' | 'userAgent' | 'scopes' | 'authenticatedAt' | 'actorId'
>;

/** The columns that a new token fills: all but those of rotation. */
export type TokenRow = DeviceColumns &
  Pick<Token, 'id' | 'purpose' | 'created' | 'lifespan' | 'lastUsedAt' | 'address'> & { digest: Buffer };

/** The successors of a rotated refresh token, and until when they can be opened. */
interface Sealing {
  sealed: Buffer | null;
  sealedUntil: Date | null;
}

/** A row, with the columns that a {@link Token} does not show. */
export interface StoredToken extends Sealing {
  token: Token;
  digest: Buffer;
}

/** The columns that decide whether a request is accepted. */
export type CheckedColumns = TokenAge & Pick<Token, 'id' | 'userId'>;

/** One row, or rows of one user. There is no statement over all rows. */
export type TokenCriteria =
  (Pick<TokenRow, 'userId'> & Partial<Pick<TokenRow, 'deviceId' | 'purpose'>>) | Pick<TokenRow, 'id'>;

/** Tokens that all have the same lifetime. */
export interface ExpiryClass {
  purpose: TokenPurpose;
  /** Their own lifespan; null if that of their purpose applies. */
  lifespan: number | null;
}

/** A position in the order in which a sweep visits the tokens of one class. */
export interface PruneCursor {
  created: Date;
  id: string;
}

/** All SQL over tokens. Nothing here runs a statement: the methods return statements, and read the rows that they find. */
@Injectable()
export class TokenQueries {
  private readonly dialect: Dialect;
  private readonly table: Table<Token, TokenRow & Sealing>;
  private readonly aliased: Selection<Token, TokenRow>;
  /** Reads the id in a row of {@link selectWithUsers}. */
  readonly idIn: (row: Row) => string;
  /** Reads the digest in a row of {@link selectWithUsers}. */
  readonly digestIn: (row: Row) => Buffer;
  /** Reads the columns that each request needs from a row of {@link selectWithUsers}. */
  readonly checkedColumnsIn: (row: Row) => CheckedColumns;
  private readonly expired: (at: number) => Statement;

  constructor(
    @Inject(DATABASE) { dialect }: Pick<Database, 'dialect'>,
    @Inject(DATA_SOURCE) dataSource: DataSource,
    @Inject(MODULE_EXTRAS) { tokenEntity }: { tokenEntity: Type<Token> },
    { lifetimes }: TokenValidity,
  ) {
    this.dialect = dialect;
    this.table = new Table(dataSource, tokenEntity);
    this.aliased = this.table.selection('t', undefined, ['digest']);
    this.idIn = this.aliased.columnReader('id');
    this.digestIn = this.aliased.columnReader('digest');
    this.checkedColumnsIn = this.checkedColumnsReader();
    this.expired = expiredCondition(lifetimes);
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

  delete(criteria: TokenCriteria): Statement {
    return this.table.delete(criteria);
  }

  /**
   * Turns a refresh token into a rotated one, unless it is one already: of simultaneous requests, the one that changes a row
   * wins. The age of a rotated token is counted from here.
   *
   * @param exchange - when and by which user agent it was exchanged, and its successors; nulls if they cannot be returned again
   */
  rotate(id: string, exchange: Pick<TokenRow, 'created' | 'userAgent'> & Sealing): Statement {
    return this.table.update({ purpose: 'rotated', lastUsedAt: null, ...exchange }, { id, purpose: 'refresh' });
  }

  /** Replaces the sealed successors of a rotated token, unless they were deleted in the meantime. */
  reseal(id: string, sealed: Buffer): Statement {
    return this.table.statement('UPDATE {} SET {sealed} = ? WHERE {id} = ? AND {sealedUntil} IS NOT NULL', [
      sealed,
      this.table.driverValue('id', id),
    ]);
  }

  /** Deletes the sealed successors of the tokens that a device rotated before. */
  forgetSealed({ userId, deviceId }: DeviceColumns): Statement {
    return this.table.statement(
      'UPDATE {} SET {sealed} = NULL, {sealedUntil} = NULL WHERE {userId} = ? AND {deviceId} = ? AND {sealedUntil} IS NOT NULL',
      [this.table.driverValue('userId', userId), this.table.driverValue('deviceId', deviceId)],
    );
  }

  /** Deletes all sealed successors that can no longer be opened. */
  forgetSealedBefore(now: number): Statement {
    return this.table.statement('UPDATE {} SET {sealed} = NULL, {sealedUntil} = NULL WHERE {sealedUntil} <= ?', [now]);
  }

  /** When the next successors expire, as the column `found`; null if there are none. */
  nextSealedUntil(): Statement {
    return this.table.statement('SELECT MIN({sealedUntil}) AS found FROM {} WHERE {sealedUntil} IS NOT NULL', []);
  }

  /**
   * The next longer own lifespan of any token of a purpose, as the column `found`; no row if there is none. It is not a `MIN`,
   * because PostgreSQL would read the index entries of all longer lifespans for it.
   */
  nextLifespan(purpose: TokenPurpose, above: number): Statement {
    const order = this.dialect.indexOrder(['{sealedUntil}', '{purpose}'], ['{lifespan}']);
    return this.table.statement(
      'SELECT {lifespan} AS found FROM {} WHERE {sealedUntil} IS NULL AND {purpose} = ? AND {lifespan} > ?' +
        ` ORDER BY ${order} LIMIT 1`,
      [purpose, above],
    );
  }

  /** How many tokens of a class were created until an instant, as the column `found`. */
  count(expiryClass: ExpiryClass, createdUntil: number): Statement {
    const { sql, values } = this.createdBefore(expiryClass, createdUntil);
    return this.table.statement(`SELECT COUNT(*) AS found FROM {} WHERE ${sql}`, values);
  }

  /** The next tokens that a sweep visits, among those of a class that were created until an instant. */
  next(expiryClass: ExpiryClass, after: PruneCursor, createdUntil: number, limit: number): Statement {
    const candidates = this.createdBefore(expiryClass, createdUntil);
    const from = this.table.driverValue('created', after.created);
    const order = this.dialect.indexOrder(['{sealedUntil}', '{purpose}', '{lifespan}'], ['{created}', '{id}']);
    return this.table.statement(
      `SELECT {created}, {id} FROM {} WHERE ${candidates.sql} AND {created} >= ? AND ({created} > ? OR {id} > ?)` +
        // Not bound: the driver of MySQL sends numbers as doubles, which LIMIT rejects.
        ` ORDER BY ${order} LIMIT ${limit}`,
      [...candidates.values, from, from, this.table.driverValue('id', after.id)],
    );
  }

  /** Deletes the tokens with these ids that are expired at an instant. A token that was renewed in the meantime stays. */
  deleteExpired(ids: readonly string[], at: number): Statement {
    // Sorted, and found by the primary key alone: the deletion of a user's tokens locks rows in the same order, so that the
    // two cannot deadlock.
    const among = this.dialect.anyOf(
      this.table.statement('{id}', []).sql,
      ids.toSorted().map((id) => this.table.driverValue('id', id)),
    );
    const { sql, values } = this.expired(at);
    const expired = this.table.statement(sql, values);
    return {
      sql: `${this.table.statement('DELETE FROM {} WHERE ', []).sql}${among.sql} AND ${expired.sql}`,
      values: [...among.values, ...expired.values],
    };
  }

  /** Tokens by their ids, each with its user if there is a join. The rows are for `idIn`, `digestIn` and `tokenIn`. */
  selectWithUsers(ids: readonly string[], join: UserJoin | null): Statement {
    const { sql, values } = this.dialect.anyOf(
      this.aliased.column('id'),
      ids.map((id) => this.table.driverValue('id', id)),
    );
    const columns = join ? `${this.aliased.columns}, ${join.columns}` : this.aliased.columns;
    return { sql: `SELECT ${columns} FROM ${this.aliased.table} ${join?.clause ?? ''} WHERE ${sql}`, values };
  }

  /** The column of {@link selectWithUsers} that holds the id of a token's user, for the condition of a join. */
  get userIdColumn(): string {
    return this.aliased.column('userId');
  }

  /** The token in a row of {@link selectWithUsers}. */
  tokenIn(row: Row): Token {
    return this.aliased.read(row);
  }

  /** Rows of {@link select} with the columns that a token does not show. */
  stored(rows: readonly Row[]): StoredToken[] {
    return rows.map((row) => ({
      token: this.table.read(row),
      digest: this.table.readColumn(row, 'digest') as Buffer,
      sealed: this.table.readColumn(row, 'sealed') as Buffer | null,
      sealedUntil: this.table.readColumn(row, 'sealedUntil') as Date | null,
    }));
  }

  /** The positions in rows of {@link next}. */
  cursors(rows: readonly Row[]): PruneCursor[] {
    return rows.map((row) => ({
      created: this.table.readColumn(row, 'created') as Date,
      id: this.table.readColumn(row, 'id') as string,
    }));
  }

  /** The token of a row that was inserted. */
  tokenOf({ digest, ...row }: TokenRow): Token {
    return this.table.create(row);
  }

  /** What another token of the same device shares with a token, including the columns that the application added. */
  deviceColumnsOf(token: Token): DeviceColumns {
    const { userId, deviceId, name, userAgent, scopes, authenticatedAt, actorId } = token;
    const shared = { userId, deviceId, name, userAgent, scopes, authenticatedAt, actorId };
    return { ...this.table.addedProperties(token, Token), ...shared };
  }

  private checkedColumnsReader(): (row: Row) => CheckedColumns {
    const { idIn } = this;
    const userIdIn = this.aliased.columnReader('userId');
    const purposeIn = this.aliased.columnReader('purpose');
    const createdIn = this.aliased.columnReader('created');
    const lifespanIn = this.aliased.columnReader('lifespan');
    const lastUsedAtIn = this.aliased.columnReader('lastUsedAt');
    return (row) => ({
      id: idIn(row),
      userId: userIdIn(row),
      purpose: purposeIn(row),
      created: createdIn(row),
      lifespan: lifespanIn(row),
      lastUsedAt: lastUsedAtIn(row),
    });
  }

  /** The condition, with names of properties, that a token is of a class and was created until an instant. */
  private createdBefore({ purpose, lifespan }: ExpiryClass, createdUntil: number): Statement {
    const [own, ...lifespans] = lifespan === null ? ['IS NULL'] : ['= ?', lifespan];
    return {
      sql: `{sealedUntil} IS NULL AND {purpose} = ? AND {lifespan} ${own} AND {created} <= ?`,
      values: [purpose, ...lifespans, createdUntil],
    };
  }
}
