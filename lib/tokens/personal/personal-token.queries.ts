import { Inject, Injectable, type Type } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import type { Row } from '../../database/database.js';
import type { Statement } from '../../database/dialect.js';
import { Table } from '../../database/table.js';
import { DATA_SOURCE, MODULE_EXTRAS } from '../../expiring-token.constants.js';
import { expiredCondition, liveCondition, TokenValidity } from '../token-lifetime.js';
import type { Token } from '../token.entity.js';
import type { TokenRow } from '../token.queries.js';

/** How many expired rows one transaction deletes at most. The next one deletes more. */
const MAX_DELETED_ROWS = 1000;

/** The personal tokens of a user, or one of them by its id. */
export interface PersonalCriteria {
  userId: string;
  id?: string;
}

/**
 * The SQL over personal tokens. The rows of one token have its id as their `deviceId`: the current one, and for a while after a
 * rotation the one before it, which is older.
 */
@Injectable()
export class PersonalTokenQueries {
  private readonly table: Table<Token, TokenRow>;
  private readonly live: (at: number) => Statement;
  private readonly expired: (at: number) => Statement;

  constructor(
    @Inject(DATA_SOURCE) dataSource: DataSource,
    @Inject(MODULE_EXTRAS) { tokenEntity }: { tokenEntity: Type<Token> },
    { lifetimes }: TokenValidity,
  ) {
    this.table = new Table(dataSource, tokenEntity);
    this.live = liveCondition(lifetimes);
    this.expired = expiredCondition(lifetimes);
  }

  /** The live rows, newest first. They are for {@link current}. */
  list(criteria: PersonalCriteria, now: number): Statement {
    const { sql, values } = this.where(criteria);
    const live = this.live(now);
    return this.table.statement(`SELECT {*} FROM {} WHERE ${sql} AND ${live.sql} ORDER BY {created} DESC, {id} DESC`, [
      ...values,
      ...live.values,
    ]);
  }

  /** All rows of a token, live or not, newest first. They are for {@link read}. */
  rowsOf(criteria: Required<PersonalCriteria>): Statement {
    const { sql, values } = this.where(criteria);
    return this.table.statement(`SELECT {*} FROM {} WHERE ${sql} ORDER BY {created} DESC, {id} DESC`, values);
  }

  /** The tokens in selected rows. */
  read(rows: readonly Row[]): Token[] {
    return rows.map((row) => this.table.read(row));
  }

  /** The current row of each token, newest first, of the rows of {@link list}. */
  current(rows: readonly Row[]): Token[] {
    const byId = new Map<string, Token>();
    for (const token of this.read(rows)) {
      if (!byId.has(token.deviceId)) byId.set(token.deviceId, token);
    }
    return [...byId.values()];
  }

  /** The ids of a user's expired rows but for the newest ones. The rows are for {@link rowIds}. */
  expiredBeyond(userId: string, now: number, kept: number): Statement {
    const { sql, values } = this.where({ userId });
    const expired = this.expired(now);
    return this.table.statement(
      `SELECT {id} FROM {} WHERE ${sql} AND ${expired.sql} ORDER BY {created} DESC, {id} DESC LIMIT ${MAX_DELETED_ROWS} OFFSET ${kept}`,
      [...values, ...expired.values],
    );
  }

  /** The ids in rows of {@link expiredBeyond}. */
  rowIds(rows: readonly Row[]): string[] {
    return rows.map((row) => this.table.readColumn(row, 'id') as string);
  }

  rename(criteria: Required<PersonalCriteria>, name: string): Statement {
    const { sql, values } = this.where(criteria);
    return this.table.statement(`UPDATE {} SET {name} = ? WHERE ${sql}`, [name, ...values]);
  }

  /**
   * Deletes rows, live or not.
   *
   * @param except - the id of a row that stays
   */
  delete(criteria: PersonalCriteria, except?: string): Statement {
    const { sql, values } = this.where(criteria);
    const [others, ids] = except === undefined ? ['', []] : [' AND {id} <> ?', [this.table.driverValue('id', except)]];
    return this.table.statement(`DELETE FROM {} WHERE ${sql}${others}`, [...values, ...ids]);
  }

  /** The condition, with names of properties, that a row belongs to these tokens. */
  private where({ userId, id }: PersonalCriteria): Statement {
    const ofToken = id === undefined ? [] : [this.table.driverValue('deviceId', id)];
    return {
      sql: `{userId} = ? AND {purpose} = 'personal'${id === undefined ? '' : ' AND {deviceId} = ?'}`,
      values: [this.table.driverValue('userId', userId), ...ofToken],
    };
  }
}
