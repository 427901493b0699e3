import type { CanActivate, INestApplication, Type } from '@nestjs/common';
import { AuthGuard } from '@nestjs/passport';
import { TypeOrmModule, type TypeOrmModuleOptions } from '@nestjs/typeorm';
import {
  ExpiringTokenGuard,
  ExpiringTokenModule,
  type ExpiringTokenModuleOptions,
  ExpiringTokenService,
  Token,
  UserService,
} from 'nestjs-expiring-token';
import { DataSource } from 'typeorm';
import { bearer, type Contestant, type LoggedInUser, type Setting } from './contestant.js';
import { guardedBy } from './me.controller.js';

/** Number of simultaneous logins: the default size of the connection pool. */
const CONCURRENCY = 10;

async function logIn(app: INestApplication, username: string): Promise<LoggedInUser & { deviceId: string }> {
  // Without a password, no time is spent on hashing.
  const { id: userId } = await app.get(UserService).create(username, null);
  const { plainText, token } = await app.get(ExpiringTokenService).issue(userId);
  return { userId, deviceId: token.deviceId, credential: bearer(plainText) };
}

/** Creates an application that uses this package with the given options. */
export function oursWith(
  database: TypeOrmModuleOptions,
  options: ExpiringTokenModuleOptions = {},
  guard: Type<CanActivate> = ExpiringTokenGuard,
): Contestant {
  return {
    module: {
      imports: [
        TypeOrmModule.forRoot({ ...database, autoLoadEntities: true, synchronize: true }),
        ExpiringTokenModule.forRoot(options),
      ],
      controllers: [guardedBy(guard)],
    },
    async logIn(app, userCount) {
      const valid: LoggedInUser[] = [];
      while (valid.length < userCount) {
        const names = Array.from({ length: CONCURRENCY }, (_, index) => `user-${valid.length + index}`);
        valid.push(...(await Promise.all(names.map((name) => logIn(app, name)))));
      }
      const { userId, deviceId, credential } = await logIn(app, 'logged-out');
      await app.get(ExpiringTokenService).revoke(userId, deviceId);
      return { valid, invalid: credential };
    },
  };
}

export const postgres = ({ postgresUrl: url }: Setting): TypeOrmModuleOptions => ({ type: 'postgres', url });

/** The package with default options: every request queries the database. */
export const ours = (setting: Setting): Contestant => oursWith(postgres(setting));

export const oursThroughPassport = (setting: Setting): Contestant =>
  oursWith(postgres(setting), {}, AuthGuard('expiring-token'));

export const oursOnSqlite = ({ sqliteFile }: Setting): Contestant =>
  oursWith({ type: 'better-sqlite3', database: sqliteFile });

export const oursCached = (setting: Setting): Contestant => oursWith(postgres(setting), { cache: { ttl: '10s' } });

/** The last use of a token is written once and never updated. */
export const oursWithoutLastUse = (setting: Setting): Contestant =>
  oursWith(postgres(setting), { lastUsedAccuracy: '3650d' });

const ACCURACY_MS = 60_000;

/** The last use of each token is written once a minute. A token expires after 30 days without use. */
export const oursWithLastUse = (setting: Setting): Contestant => ({
  ...oursWith(postgres(setting), { idle: '30d', lastUsedAccuracy: ACCURACY_MS }),
  // Without this, the last use of all tokens would be due in the same moment. It spreads the due times evenly over a minute,
  // as a steady load would.
  async prepareRound(app) {
    const lastUsedAt = () => `CAST(extract(epoch FROM now()) * 1000 - random() * ${ACCURACY_MS} AS bigint)`;
    await app.get(DataSource).createQueryBuilder().update(Token).set({ lastUsedAt }).execute();
  },
});
