import type { Type } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import type { Database, Row, TransactionScript } from '../database/database.js';
import type { Statement } from '../database/dialect.js';
import { retry } from '../async/retry.js';
import { type Selection, Table } from '../database/table.js';
import type { Lifetime, Lifetimes } from './token-lifetime.js';
import { NEVER_MS, Token, type TokenPurpose } from './token.entity.js';
import type { UserJoin } from '../users/user-store.js';

/** The columns that a new token fills: all but those that an application added, and those of rotation. */
export type TokenRow = Pick<
  Token,
  'id' | 'userId' | 'deviceId' | 'purpose' | 'name' | 'userAgent' | 'created' | 'lifespan' | 'lastUsedAt'
> & { digest: Buffer };

/** Of a rotated refresh token: its successors, and until when they can be opened. */
interface Sealing {
  sealed: Buffer | null;
  sealedUntil: Date | null;
}

/** A row, with the columns that no {@link Token} shows. */
export interface StoredToken extends Sealing {
  token: Token;
  digest: Buffer;
}

/** Rows of one user or fewer of them, or one row. There is no statement over all rows. */
export type TokenCriteria =
  (Pick<TokenRow, 'userId'> & Partial<Pick<TokenRow, 'deviceId' | 'purpose'>>) | Pick<TokenRow, 'id'>;

/** Tokens that all live equally long. */
export interface ExpiryClass {
  purpose: TokenPurpose;
  /** Their own lifespan; null where the usual one applies. */
  lifespan: number | null;
}

/** A place in the order in which a sweep goes through the tokens of one kind. */
export interface PruneCursor {
  created: Date;
  id: string;
}

/** Before all tokens. */
export const FIRST_CURSOR: PruneCursor = { created: new Date(-8.64e15), id: '00000000-0000-0000-0000-000000000000' };

/** All SQL over tokens: statements, and the ways to run them. */
export class TokenStore {
  private readonly table: Table<Token, TokenRow & Sealing>;
  private readonly selection: Selection<Token, TokenRow>;
  /** {@link isLive} in SQL, and the other way round: takes the instant twice. A row of unknown age is neither. */
  private readonly expired: string;

  constructor(
    private readonly database: Database,
    dataSource: DataSource,
    entity: Type<Token>,
    lifetimes: Lifetimes,
  ) {
    this.table = new Table(dataSource, entity);
    this.selection = this.table.selection('t', undefined, ['digest']);
    const usual = (limit: keyof Lifetime) => {
      const cases = Object.entries(lifetimes).map(
        ([purpose, lifetime]) => `WHEN '${purpose}' THEN ${Math.min(lifetime[limit], NEVER_MS)}`,
      );
      return `CASE {purpose} ${cases.join(' ')} END`;
    };
    this.expired =
      // Taken from the instant: what is in a broken row could be too large a number to add to.
      `({created} <= ? - COALESCE({lifespan}, ${usual('lifespanMs')})` +
      ` OR COALESCE({lastUsedAt}, {created}) <= ? - ${usual('idleMs')})`;
  }

  /** The rows that a select finds. */
  async read(statement: Statement, signal: AbortSignal): Promise<StoredToken[]> {
    return this.stored(await this.database.read(statement, signal));
  }

  /** Runs the statements of a script in one transaction, alone among those of the same user; again where an id is taken. */
  withUserLock<T>(userId: string, script: () => TransactionScript<T>, signal: AbortSignal): Promise<T> {
    return retry(() => this.database.transaction(userId, script, signal), ['duplicate'], signal);
  }

  /** Does one statement by itself. Returns how many rows it changed. */
  write(statement: Statement, signal: AbortSignal): Promise<number> {
    return this.database.write(statement, signal);
  }

  /** What a user's id is selected as by {@link lookUp}, for a join to compare with. */
  get userId(): string {
    return this.selection.column('userId');
  }

  select(criteria: TokenCriteria): Statement {
    return this.table.select(criteria);
  }

  /** Tokens by their ids, each with its user where there is a join. Their rows are for {@link foundToken}. */
  lookUp(ids: readonly string[], join: UserJoin | null): Statement {
    const { sql, values } = this.database.dialect.anyOf(
      this.selection.column('id'),
      ids.map((id) => this.table.driverValue('id', id)),
    );
    const columns = join ? `${this.selection.columns}, ${join.columns}` : this.selection.columns;
    return { sql: `SELECT ${columns} FROM ${this.selection.table} ${join?.clause ?? ''} WHERE ${sql}`, values };
  }

  /** The tokens that say which devices a user has: the live ones, without the rotated. */
  selectLive(userId: string, now: number, device: { deviceId?: string } = {}): Statement {
    const mine = this.table.select({ userId, ...device });
    const live = this.table.statement(` AND {purpose} <> 'rotated' AND NOT ${this.expired}`, [now, now]);
    return { sql: mine.sql + live.sql, values: [...mine.values, ...live.values] };
  }

  /** @param like - the token whose columns that the application added are taken over */
  insert(row: TokenRow, like?: Token): Statement {
    return this.table.insert({ ...(like && this.table.addedProperties(like, Token)), ...row });
  }

  update(change: Partial<TokenRow>, criteria: TokenCriteria): Statement {
    return this.table.update(change, criteria);
  }

  /**
   * Makes a refresh token a rotated one, if it is none yet: who changes one row has won. A rotated token ages from here.
   *
   * @param sealing - its successors; nulls where they cannot be had again
   */
  rotate(id: string, now: Date, sealing: Sealing): Statement {
    return this.table.update(
      { purpose: 'rotated', created: now, lastUsedAt: null, ...sealing },
      { id, purpose: 'refresh' },
    );
  }

  /** Forgets the successors of the tokens that a device rotated before. */
  forgetSealed({ userId, deviceId }: Token): Statement {
    return this.table.statement(
      'UPDATE {} SET {sealed} = NULL, {sealedUntil} = NULL WHERE {userId} = ? AND {deviceId} = ? AND {sealedUntil} IS NOT NULL',
      [this.table.driverValue('userId', userId), this.table.driverValue('deviceId', deviceId)],
    );
  }

  /** Forgets all successors that can no longer be opened. */
  forgetSealedBefore(now: number): Statement {
    return this.table.statement('UPDATE {} SET {sealed} = NULL, {sealedUntil} = NULL WHERE {sealedUntil} <= ?', [now]);
  }

  /** When the next successors can no longer be opened, in milliseconds since the epoch; null where there are none. */
  async nextSealedUntil(signal: AbortSignal): Promise<number | null> {
    return this.readNumber(
      this.table.statement('SELECT MIN({sealedUntil}) AS found FROM {} WHERE {sealedUntil} IS NOT NULL', []),
      signal,
    );
  }

  /** Notes a use of a token, unless a later one is noted, or one within the last `accuracyMs` milliseconds. */
  touch(id: string, at: number, accuracyMs: number): Statement {
    return this.table.statement(
      'UPDATE {} SET {lastUsedAt} = ? WHERE {id} = ? AND ({lastUsedAt} IS NULL OR {lastUsedAt} <= ?)',
      [at, this.table.driverValue('id', id), at - accuracyMs],
    );
  }

  /** @param except - rows that stay */
  delete(criteria: TokenCriteria, except: Partial<Pick<TokenRow, 'deviceId'>> = {}): Statement {
    return this.table.delete(criteria, except);
  }

  /** The next lifespan of its own that any token of a kind has, in milliseconds; null where there is none. */
  nextLifespan(purpose: TokenPurpose, above: number, signal: AbortSignal): Promise<number | null> {
    const sql =
      'SELECT MIN({lifespan}) AS found FROM {} WHERE {sealedUntil} IS NULL AND {purpose} = ? AND {lifespan} > ?';
    return this.readNumber(this.table.statement(sql, [purpose, above]), signal);
  }

  /** How many tokens a sweep of one kind has to look at: those created until then. */
  async count(kind: ExpiryClass, until: number, signal: AbortSignal): Promise<number> {
    const { sql, values } = this.createdBefore(kind, until);
    const counted = this.table.statement(`SELECT COUNT(*) AS found FROM {} WHERE ${sql}`, values);
    return (await this.readNumber(counted, signal)) ?? 0;
  }

  /** The next tokens of a sweep: as many as that, of those created until then. */
  async next(kind: ExpiryClass, after: PruneCursor, until: number, limit: number, signal: AbortSignal) {
    const due = this.createdBefore(kind, until);
    const from = this.table.driverValue('created', after.created);
    const order = this.database.dialect.indexOrder(['{sealedUntil}', '{purpose}', '{lifespan}'], ['{created}', '{id}']);
    const statement = this.table.statement(
      `SELECT {created}, {id} FROM {} WHERE ${due.sql} AND {created} >= ? AND ({created} > ? OR {id} > ?)` +
        // MySQL takes no number of ours for a LIMIT.
        ` ORDER BY ${order} LIMIT ${limit}`,
      [...due.values, from, from, this.table.driverValue('id', after.id)],
    );
    const rows = await this.database.read(statement, signal);
    const read = (row: Row, property: keyof PruneCursor) => this.table.readColumn(row, property);
    return rows.map((row) => ({ created: read(row, 'created'), id: read(row, 'id') }) as PruneCursor);
  }

  /** Removes those of the tokens that are dead at an instant: what was renewed in the meantime stays. */
  deleteExpired(ids: readonly string[], at: number): Statement {
    // In one order, by the primary key alone: who deletes the tokens of a user locks them in no other.
    const among = this.database.dialect.anyOf(
      this.table.statement('{id}', []).sql,
      ids.toSorted().map((id) => this.table.driverValue('id', id)),
    );
    const dead = this.table.statement(this.expired, [at, at]);
    return {
      sql: `${this.table.statement('DELETE FROM {} WHERE ', []).sql}${among.sql} AND ${dead.sql}`,
      values: [...among.values, ...dead.values],
    };
  }

  /** The tokens of rows. */
  tokens(rows: readonly Row[]): Token[] {
    return rows.map((row) => this.table.read(row));
  }

  /** Rows with what no token shows. */
  stored(rows: readonly Row[]): StoredToken[] {
    return rows.map((row) => ({
      token: this.table.read(row),
      digest: this.table.readColumn(row, 'digest') as Buffer,
      sealed: this.table.readColumn(row, 'sealed') as Buffer | null,
      sealedUntil: this.table.readColumn(row, 'sealedUntil') as Date | null,
    }));
  }

  /** The id of a row of {@link lookUp}. */
  foundId(row: Row): string {
    return this.selection.readColumn(row, 'id') as string;
  }

  /** The digest in a row of {@link lookUp}. */
  foundDigest(row: Row): Buffer {
    return this.selection.readColumn(row, 'digest') as Buffer;
  }

  /** The token of a row of {@link lookUp}. */
  foundToken(row: Row): Token {
    return this.selection.read(row);
  }

  /** A token as it was inserted, without the columns that the application added. */
  tokenOf({ digest, ...row }: TokenRow): Token {
    return this.table.create(row);
  }

  /** The condition, still with the names of properties, that a token is of a kind and was created until then. */
  private createdBefore({ purpose, lifespan }: ExpiryClass, until: number): Statement {
    const [own, ...lifespans] = lifespan === null ? ['IS NULL'] : ['= ?', lifespan];
    return {
      sql: `{sealedUntil} IS NULL AND {purpose} = ? AND {lifespan} ${own} AND {created} <= ?`,
      values: [purpose, ...lifespans, until],
    };
  }

  private async readNumber(statement: Statement, signal: AbortSignal): Promise<number | null> {
    const [row] = await this.database.read(statement, signal);
    return row?.found === null || row?.found === undefined ? null : Number(row.found);
  }
}
