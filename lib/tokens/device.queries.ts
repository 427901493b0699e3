import { Inject, Injectable, type Type } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import type { Database, Row } from '../database/database.js';
import type { Dialect, Statement } from '../database/dialect.js';
import { Table } from '../database/table.js';
import { DATA_SOURCE, DATABASE, MODULE_EXTRAS, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { actorOf, type Device } from './device.js';
import { expirySql, liveCondition, roundedLastUseSql, roundedSince, TokenValidity } from './token-lifetime.js';
import {
  BOUNDED_PURPOSES,
  DEVICE_PURPOSES,
  PERSONAL_PURPOSES,
  PURPOSE_RULES,
  REFRESHING_PURPOSES,
} from './token-purpose.js';
import { NEVER_MS, Token } from './token.entity.js';
import type { TokenRow } from './token.queries.js';

/** Maximum length of a list of devices: the newest ones. */
const MAX_LISTED_DEVICES = 10_000;

/**
 * Maximum number of ids in one statement. It is below the number of values that each database accepts, and large enough that
 * the devices of a user are deleted with few statements, each of which reads all rows of the user.
 */
const MAX_IDS = 8192;

/** Some rows of a user: those of one device, or of all. */
type DeviceCriteria = Pick<TokenRow, 'userId'> & { deviceId?: string | undefined };

const namesOf = (purposes: readonly string[]) => purposes.map((purpose) => `'${purpose}'`).join(', ');

const NOT_PERSONAL = ` AND {purpose} NOT IN (${namesOf(PERSONAL_PURPOSES)})`;

/** The condition, with names of properties, that nobody else uses a token in place of its user. */
const OWN = ' AND {actorId} IS NULL';

const placesFor = (values: readonly unknown[]) => values.map(() => '?').join(', ');

/**
 * The SQL over devices. A device has no row: it is the group of all tokens with its id. The database aggregates them, so that
 * the cost in this process depends on the number of devices and not on the number of tokens. No statement concerns personal
 * tokens.
 */
@Injectable()
export class DeviceQueries {
  private readonly dialect: Dialect;
  private readonly table: Table<Token, TokenRow>;
  private readonly live: (at: number) => Statement;
  private readonly lastUsedAccuracyMs: number;
  /** SQL for the instant until which a device can refresh, and until which its other tokens are valid. */
  private readonly refreshExpiry: string;
  private readonly otherExpiry: string;

  constructor(
    @Inject(DATABASE) { dialect }: Pick<Database, 'dialect'>,
    @Inject(DATA_SOURCE) dataSource: DataSource,
    @Inject(MODULE_EXTRAS) { tokenEntity }: { tokenEntity: Type<Token> },
    @Inject(RESOLVED_OPTIONS) { lastUsedAccuracyMs }: Pick<ResolvedOptions, 'lastUsedAccuracyMs'>,
    { lifetimes }: TokenValidity,
  ) {
    this.dialect = dialect;
    this.table = new Table(dataSource, tokenEntity);
    this.live = liveCondition(lifetimes);
    this.lastUsedAccuracyMs = lastUsedAccuracyMs;
    const ofRefreshing = `{purpose} IN (${namesOf(REFRESHING_PURPOSES)})`;
    const lastRefresh = roundedLastUseSql(lastUsedAccuracyMs);
    this.refreshExpiry = `CASE WHEN ${ofRefreshing} THEN ${expirySql(lifetimes, lastRefresh)} END`;
    this.otherExpiry = `CASE WHEN NOT ${ofRefreshing} THEN ${expirySql(lifetimes)} END`;
  }

  /** The live devices of a user, or one of them, newest first. The rows are for {@link devices}. */
  list(userId: string, now: number, device: { deviceId?: string } = {}): Statement {
    return this.select(
      `{deviceId}, MIN({created}) AS first_created, MAX({lastUsedAt}) AS last_use,` +
        ` MAX(${this.refreshExpiry}) AS refresh_expiry, MAX(${this.otherExpiry}) AS expiry,` +
        ' MAX({name}) AS label, MAX({userAgent}) AS agent, MAX({actorId}) AS actor',
      { userId, ...device },
      now,
      ` GROUP BY {deviceId} ORDER BY first_created DESC, {deviceId} DESC LIMIT ${MAX_LISTED_DEVICES}`,
    );
  }

  /** The ids of all live devices of a user, or of one of them if it is live. The rows are for {@link deviceIds}. */
  ids(userId: string, now: number, device: { deviceId?: string } = {}): Statement {
    return this.select('DISTINCT {deviceId}', { userId, ...device }, now);
  }

  /** How many live devices of their own a user has, as the column `found`. Those that somebody else uses do not count. */
  count(userId: string, now: number): Statement {
    return this.select('COUNT(DISTINCT {deviceId}) AS found', { userId }, now, OWN);
  }

  /**
   * The live devices of a user that were not used for the longest time; of equals, the older ones. A device that was never used
   * counts from its creation. The rows are for {@link deviceIds}.
   */
  leastRecentlyUsed(userId: string, now: number, limit: number): Statement {
    const [first, last] = ['MIN({created})', 'MAX({lastUsedAt})'];
    const lastSeen = `CASE WHEN ${last} > ${first} THEN ${last} ELSE ${first} END`;
    const order = `${lastSeen}, ${first}, {deviceId}`;
    return this.select('{deviceId}', { userId }, now, `${OWN} GROUP BY {deviceId} ORDER BY ${order} LIMIT ${limit}`);
  }

  /**
   * Finds a row if a user, or one device, has any token, valid or not.
   *
   * @param except - rows that do not count
   */
  any(criteria: DeviceCriteria, except: { deviceId?: string } = {}): Statement {
    return this.ofUser('SELECT 1', criteria, except, ' LIMIT 1');
  }

  /**
   * Deletes all tokens of a user, or of one device.
   *
   * @param except - rows that stay
   */
  deleteAll(criteria: DeviceCriteria, except: { deviceId?: string } = {}): Statement {
    return this.ofUser('DELETE', criteria, except);
  }

  /** Deletes all tokens of some devices of a user. */
  delete(userId: string, deviceIds: readonly string[]): Statement[] {
    const ofUser = this.table.delete({ userId });
    return this.anyOf('deviceId', deviceIds, 'hashedAnyOf').map(({ sql, values }) => ({
      sql: `${ofUser.sql} AND ${sql}`,
      values: [...ofUser.values, ...values],
    }));
  }

  /**
   * Some tokens of a user, valid or not, in no particular order. The rows are for {@link tokenIds} and {@link liveDeviceIds}.
   */
  tokens(userId: string, except: { deviceId?: string }, now: number, limit: number): Statement {
    const live = this.live(now);
    const makesDevice = `{purpose} IN (${placesFor(DEVICE_PURPOSES)}) AND ${live.sql}`;
    const columns = `{id}, {deviceId}, CASE WHEN ${makesDevice} THEN 1 ELSE 0 END AS is_live`;
    const { sql, values } = this.ofUser(`SELECT ${columns}`, { userId }, except, ` LIMIT ${limit}`);
    return { sql, values: [...DEVICE_PURPOSES, ...live.values, ...values] };
  }

  /** Finds a row if a user has more than this number of tokens, valid or not. */
  tokensBeyond(userId: string, except: { deviceId?: string }, number: number): Statement {
    return this.ofUser('SELECT 1', { userId }, except, ` LIMIT 1 OFFSET ${number}`);
  }

  /** Names all tokens of a device. */
  rename(userId: string, deviceId: string, name: string): Statement {
    const { sql, values } = this.table.update({ name }, { userId, deviceId });
    return { sql: sql + this.table.statement(NOT_PERSONAL, []).sql, values };
  }

  /** Names the tokens of a device that have another name. */
  renameOthers(userId: string, deviceId: string, name: string): Statement {
    const all = this.rename(userId, deviceId, name);
    const others = this.table.statement(' AND ({name} IS NULL OR {name} <> ?)', [name]);
    return { sql: all.sql + others.sql, values: [...all.values, ...others.values] };
  }

  /**
   * The ids of the tokens that a device has to lose before it gets one more of each purpose: the oldest ones of those that are
   * too many. The rows are for {@link tokenIds}.
   *
   * @param kept - the id of a token that is not counted
   */
  surplus({ userId, deviceId, id: kept }: Pick<Token, 'userId' | 'deviceId' | 'id'>, now: number): Statement {
    const ofDevice = this.where({ userId, deviceId }, BOUNDED_PURPOSES, now);
    const limits = BOUNDED_PURPOSES.map(
      (purpose) => `WHEN '${purpose}' THEN ${PURPOSE_RULES[purpose].maxPerDevice}`,
    ).join(' ');
    return this.table.statement(
      'SELECT {id} FROM (SELECT {id}, {purpose},' +
        ' ROW_NUMBER() OVER (PARTITION BY {purpose} ORDER BY {created} DESC, {id} DESC) AS place' +
        ` FROM {} WHERE ${ofDevice.sql} AND {id} <> ?) ranked WHERE place >= CASE {purpose} ${limits} END`,
      [...ofDevice.values, this.table.driverValue('id', kept)],
    );
  }

  /** How many refresh tokens of a device were exchanged, and are still kept to recognize their reuse, as the column `found`. */
  countExchanged({ userId, deviceId }: Pick<Token, 'userId' | 'deviceId'>, now: number): Statement {
    const { sql, values } = this.where({ userId, deviceId }, ['rotated'], now);
    return this.table.statement(`SELECT COUNT(*) AS found FROM {} WHERE ${sql}`, values);
  }

  /** Deletes tokens by their ids. */
  deleteTokens(ids: readonly string[]): Statement[] {
    // Sorted, and found by the primary key alone, as in `TokenQueries.deleteExpired`: so the two cannot deadlock.
    const { sql: start } = this.table.statement('DELETE FROM {} WHERE ', []);
    return this.anyOf('id', ids.toSorted(), 'anyOf').map(({ sql, values }) => ({
      sql: start + sql,
      values,
    }));
  }

  /**
   * The devices in rows of {@link list}. If a device can refresh, its instants are rounded: they would tell the thief of a
   * refresh token when its owner refreshes, after which the thief has to ask within the grace.
   */
  devices(rows: readonly Row[]): Device[] {
    return rows.map((row) => {
      const createdMs = Number(row.first_created);
      const canRefresh = row.refresh_expiry !== null;
      const shown = (instant: unknown): number | null => {
        if (instant === null) return null;
        return canRefresh ? roundedSince(createdMs, Number(instant), this.lastUsedAccuracyMs) : Number(instant);
      };
      const expiryMs = Math.max(Number(row.refresh_expiry), shown(row.expiry) ?? 0);
      const lastUseMs = shown(row.last_use);
      return {
        id: this.table.readColumn(row, 'deviceId') as string,
        name: row.label as string | null,
        userAgent: row.agent as string | null,
        createdAt: new Date(createdMs),
        lastUsedAt: lastUseMs === null ? null : new Date(lastUseMs),
        expiresAt: expiryMs >= NEVER_MS ? null : new Date(expiryMs),
        ...actorOf({ actorId: row.actor as string | null }),
      };
    });
  }

  /** The ids in rows of {@link ids} and {@link leastRecentlyUsed}. */
  deviceIds(rows: readonly Row[]): string[] {
    return rows.map((row) => this.table.readColumn(row, 'deviceId') as string);
  }

  /** The ids of the devices of which a live token is among rows of {@link tokens}. */
  liveDeviceIds(rows: readonly Row[]): string[] {
    return [...new Set(this.deviceIds(rows.filter((row) => Number(row.is_live) === 1)))];
  }

  /** The ids in rows of {@link surplus} and {@link tokens}. */
  tokenIds(rows: readonly Row[]): string[] {
    return rows.map((row) => this.table.readColumn(row, 'id') as string);
  }

  /**
   * A statement over the tokens of the devices of a user.
   *
   * @param verb - what precedes `FROM`
   */
  private ofUser(
    verb: string,
    { userId, deviceId }: DeviceCriteria,
    except: { deviceId?: string },
    rest = '',
  ): Statement {
    const conditions = [
      [' = ?', deviceId],
      [' <> ?', except.deviceId],
    ] as const;
    const given = conditions.filter(([, id]) => id !== undefined);
    return this.table.statement(
      `${verb} FROM {} WHERE {userId} = ?${given.map(([comparison]) => ` AND {deviceId}${comparison}`).join('')}` +
        NOT_PERSONAL +
        rest,
      [this.table.driverValue('userId', userId), ...given.map(([, id]) => this.table.driverValue('deviceId', id!))],
    );
  }

  /** Selects from the tokens that make live devices. */
  private select(columns: string, criteria: { userId: string; deviceId?: string }, now: number, rest = ''): Statement {
    const { sql, values } = this.where(criteria, DEVICE_PURPOSES, now);
    return this.table.statement(`SELECT ${columns} FROM {} WHERE ${sql}${rest}`, values);
  }

  /** The condition, with names of properties, that a token is of a user and has one of these purposes, and is live. */
  private where(
    { userId, deviceId }: { userId: string; deviceId?: string },
    purposes: readonly string[],
    now: number,
  ): Statement {
    const live = this.live(now);
    const ofDevice = deviceId === undefined ? [] : [this.table.driverValue('deviceId', deviceId)];
    return {
      sql:
        `{userId} = ?${deviceId === undefined ? '' : ' AND {deviceId} = ?'}` +
        ` AND {purpose} IN (${placesFor(purposes)}) AND ${live.sql}`,
      values: [this.table.driverValue('userId', userId), ...ofDevice, ...purposes, ...live.values],
    };
  }

  /** The conditions that a column is among some ids, a few thousand in each. */
  private anyOf(property: 'id' | 'deviceId', ids: readonly string[], condition: 'anyOf' | 'hashedAnyOf'): Statement[] {
    const column = this.table.statement(`{${property}}`, []).sql;
    const values = ids.map((id) => this.table.driverValue(property, id));
    const chunks = Array.from({ length: Math.ceil(values.length / MAX_IDS) }, (_, index) =>
      values.slice(index * MAX_IDS, (index + 1) * MAX_IDS),
    );
    return chunks.map((chunk) => this.dialect[condition](column, chunk));
  }
}
