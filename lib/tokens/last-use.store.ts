import { Inject, Injectable, type Type } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import { withTimeout } from '../async/with-timeout.js';
import type { Database, Row, TransactionScript } from '../database/database.js';
import type { BulkUpdate, Statement } from '../database/dialect.js';
import { Table } from '../database/table.js';
import { DATA_SOURCE, DATABASE, MODULE_EXTRAS, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { Token } from './token.entity.js';

/** The id of a token, and when it was used, in milliseconds since the epoch. */
export type TokenUse = readonly [id: string, at: number];

/**
 * Stores uses of tokens: of each token its use, unless a later use is stored, or one within the last `lastUsedAccuracy`.
 */
@Injectable()
export class LastUseStore {
  private readonly table: Table<Token, Pick<Token, 'id' | 'lastUsedAt'>>;
  /** Whether the database runs in this process, and blocks all requests meanwhile. */
  readonly isBlocking: boolean;
  /** Maximum number of uses in one transaction. */
  readonly maxUses: number;

  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(DATABASE) private readonly database: Database,
    @Inject(DATA_SOURCE) dataSource: DataSource,
    @Inject(MODULE_EXTRAS) { tokenEntity }: { tokenEntity: Type<Token> },
  ) {
    this.table = new Table(dataSource, tokenEntity);
    this.isBlocking = database.dialect.bulkUpdate === null;
    this.maxUses = this.isBlocking ? 100 : 1000;
  }

  /** @returns the ids of the rows that another transaction has locked: their uses are not stored */
  store(uses: readonly TokenUse[]): Promise<string[]> {
    const { bulkUpdate } = this.database.dialect;
    const script = () => (bulkUpdate ? this.storeAtOnce(uses, bulkUpdate) : this.storeEach(uses));
    return withTimeout(this.options.timeoutMs, (signal) => this.database.transaction(null, script, signal));
  }

  private *storeEach(uses: readonly TokenUse[]): TransactionScript<string[]> {
    for (const [id, at] of uses) {
      yield this.table.statement(
        'UPDATE {} SET {lastUsedAt} = ? WHERE {id} = ? AND ({lastUsedAt} IS NULL OR {lastUsedAt} <= ?)',
        [at, this.table.driverValue('id', id), at - this.options.lastUsedAccuracyMs],
      );
    }
    return [];
  }

  /** Nothing here waits for the lock of a row: no transaction can deadlock with this one, and no row delays the others. */
  private *storeAtOnce(uses: readonly TokenUse[], bulkUpdate: BulkUpdate): TransactionScript<string[]> {
    const due = this.due(uses);
    const unlocked = new Set(this.idsOf((yield { ...due, sql: `${due.sql} ${bulkUpdate.lockUnlocked}` }).rows));
    const rows = uses.filter(([id]) => unlocked.has(id));
    if (rows.length > 0) yield this.update(rows, bulkUpdate);
    if (rows.length === uses.length) return [];
    return this.idsOf((yield due).rows).filter((id) => !unlocked.has(id));
  }

  /** Selects the rows in which one of these uses may have to be stored. */
  private due(uses: readonly TokenUse[]): Statement {
    const ids = uses.map(([id]) => this.table.driverValue('id', id));
    const among = this.database.dialect.anyOf(this.table.statement('{id}', []).sql, ids);
    const latest = Math.max(...uses.map(([, at]) => at));
    return this.table.statement(
      `SELECT {id} FROM {} WHERE ${among.sql} AND ({lastUsedAt} IS NULL OR {lastUsedAt} <= ?)`,
      [...among.values, latest - this.options.lastUsedAccuracyMs],
    );
  }

  private update(uses: readonly TokenUse[], { updateEach }: BulkUpdate): Statement {
    const sqlOf = (sql: string) => this.table.statement(sql, []).sql;
    return updateEach({
      table: sqlOf('{}'),
      id: sqlOf('{id}'),
      column: sqlOf('{lastUsedAt}'),
      rows: uses.map(([id, at]) => [this.table.driverValue('id', id), at]),
      condition: (at) =>
        sqlOf(`({}.{lastUsedAt} IS NULL OR {}.{lastUsedAt} <= ${at} - ${this.options.lastUsedAccuracyMs})`),
    });
  }

  private idsOf(rows: readonly Row[]): string[] {
    return rows.map((row) => this.table.readColumn(row, 'id') as string);
  }
}
