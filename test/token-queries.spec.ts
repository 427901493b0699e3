import { Token } from 'nestjs-expiring-token';
import { Column, DataSource, Entity } from 'typeorm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sqliteDialect } from '../lib/database/sqlite.dialect.js';
import { uuidV7 } from '../lib/database/uuid-v7.js';
import { resolveOptions } from '../lib/options/resolve-options.js';
import { DeviceQueries } from '../lib/tokens/device.queries.js';
import { TokenValidity } from '../lib/tokens/token-lifetime.js';
import { type TokenCriteria, TokenQueries, type TokenRow } from '../lib/tokens/token.queries.js';
import { sqliteDriver } from './fixtures/databases.js';

const ID = '019aa000-0000-7000-8000-000000000001';
const OTHER_ID = '019aa000-0000-7000-8000-000000000002';
const NOW = 1_800_000_000_000;

@Entity('team_token')
class TeamToken extends Token {
  @Column('varchar', { nullable: true })
  team: string | null;
}

const row: TokenRow = {
  id: ID,
  userId: 'ann',
  deviceId: OTHER_ID,
  purpose: 'access',
  name: 'phone',
  userAgent: null,
  created: new Date(NOW),
  lifespan: null,
  lastUsedAt: null,
  scopes: ['notes:read', 'notes:write'],
  authenticatedAt: new Date(NOW),
  address: null,
  actorId: null,
  digest: Buffer.alloc(32),
};

describe('The statements over tokens', () => {
  let dataSource: DataSource;
  let queries: TokenQueries;
  let devices: DeviceQueries;
  beforeAll(async () => {
    dataSource = new DataSource({
      type: 'better-sqlite3',
      driver: sqliteDriver,
      database: ':memory:',
      entities: [TeamToken],
    });
    await dataSource.initialize();
    const options = resolveOptions({});
    const validity = new TokenValidity(options, () => NOW);
    const database = { dialect: sqliteDialect };
    const extras = { tokenEntity: TeamToken };
    queries = new TokenQueries(database, dataSource, extras, validity);
    devices = new DeviceQueries(database, dataSource, extras, options, validity);
  });
  afterAll(() => dataSource.destroy());

  it('are over the table of the subclass', () => {
    expect(queries.select({ id: ID }).sql).toContain('FROM "team_token" WHERE "id" = ?');
    expect(devices.count('ann', NOW).sql).toContain('FROM "team_token" WHERE "user_id" = ?');
  });

  it('are never over all rows', () => {
    const everything = {} as TokenCriteria;
    expect(() => queries.select(everything)).toThrow(TypeError);
    expect(() => queries.update({ name: null }, everything)).toThrow(TypeError);
    expect(() => queries.delete(everything)).toThrow(TypeError);
  });

  it('bind every value', () => {
    const statements = [
      devices.list("ann'", NOW, { deviceId: ID }),
      devices.ids("ann'", NOW, { deviceId: ID }),
      devices.count("ann'", NOW),
      devices.leastRecentlyUsed("ann'", NOW, 3),
      devices.surplus({ userId: "ann'", deviceId: ID, id: OTHER_ID }, NOW),
      devices.renameOthers("ann'", ID, "ann'"),
      ...devices.delete("ann'", [ID]),
    ];
    for (const { sql, values } of statements) {
      expect(sql).not.toContain("ann'");
      expect(values).toContain("ann'");
      expect(sql.split('?'), sql).toHaveLength(values.length + 1);
    }
  });

  it('delete any number of devices or tokens in chunks, since databases limit the values of a statement', () => {
    const ids = Array.from({ length: 10_000 }, (_, index) => uuidV7(NOW + index));
    for (const statements of [devices.delete('ann', ids), devices.deleteTokens(ids.toReversed())]) {
      expect(statements).toHaveLength(2);
      expect(new Set(statements.flatMap(({ values }) => values))).toEqual(
        new Set([...ids, ...(statements[0]!.values.includes('ann') ? ['ann'] : [])]),
      );
      for (const { sql, values } of statements) expect(sql.split('?')).toHaveLength(values.length + 1);
    }
    expect(devices.deleteTokens(ids.toReversed())).toEqual(devices.deleteTokens(ids));
    expect(devices.delete('ann', [])).toEqual([]);
  });

  it('rotate a refresh token and no other: of two requests, one changes a row', () => {
    const { sql, values } = queries.rotate(ID, {
      created: new Date(NOW),
      userAgent: null,
      sealed: null,
      sealedUntil: null,
    });
    expect(sql).toMatch(/WHERE "id" = \? AND "purpose" = \?$/);
    expect(values.at(-1)).toBe('refresh');
  });

  it('delete expired tokens in the order of the primary key', () => {
    const { sql, values } = queries.deleteExpired([OTHER_ID, ID], NOW);
    const inOrder = queries.deleteExpired([ID, OTHER_ID], NOW);
    expect({ sql, values }).toEqual(inOrder);
    expect(values.slice(-2)).toEqual([NOW, NOW]);
  });

  it('give the token of a row without its digest', () => {
    expect(queries.tokenOf(row)).toMatchObject({ id: ID, userId: 'ann', purpose: 'access' });
    expect(queries.tokenOf(row)).not.toHaveProperty('digest');
  });

  it('share with a device what belongs to it, with the columns of the subclass', () => {
    const token = Object.assign(new TeamToken(), row, { team: 'red' });
    const { userId, deviceId, name, userAgent, scopes, authenticatedAt, actorId } = row;
    const device = { userId, deviceId, name, userAgent, scopes, authenticatedAt, actorId };
    expect(queries.deviceColumnsOf(token)).toEqual({ ...device, team: 'red' });
    const { sql, values } = queries.insert({ ...row, ...queries.deviceColumnsOf(token) });
    expect(sql).toContain('"team"');
    expect(values).toContain('red');
  });
});
