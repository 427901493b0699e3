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
import { bearer, type Contestant, type LoggedIn, type Setting } from './contestant.js';
import { guardedBy } from './me.controller.js';

/** As many logins are made at once as the pool has connections. */
const AT_ONCE = 10;

async function logIn(app: INestApplication, username: string): Promise<LoggedIn & { deviceId: string }> {
  // Without a password nothing is hashed.
  const { id: userId } = await app.get(UserService).create(username, null);
  const { plainText, token } = await app.get(ExpiringTokenService).issue(userId);
  return { userId, deviceId: token.deviceId, credential: bearer(plainText) };
}

/** An application that uses the package with these options. */
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
      const right: LoggedIn[] = [];
      while (right.length < userCount) {
        const names = Array.from({ length: AT_ONCE }, (_, index) => `user-${right.length + index}`);
        right.push(...(await Promise.all(names.map((name) => logIn(app, name)))));
      }
      const { userId, deviceId, credential } = await logIn(app, 'logged-out');
      await app.get(ExpiringTokenService).revoke(userId, deviceId);
      return { right, wrong: credential };
    },
  };
}

export const postgres = ({ postgresUrl: url }: Setting): TypeOrmModuleOptions => ({ type: 'postgres', url });

/** As the package is when no option is given: every request looks at the database. */
export const ours = (setting: Setting): Contestant => oursWith(postgres(setting));

export const oursThroughPassport = (setting: Setting): Contestant =>
  oursWith(postgres(setting), {}, AuthGuard('expiring-token'));

export const oursOnSqlite = ({ sqliteFile }: Setting): Contestant =>
  oursWith({ type: 'better-sqlite3', database: sqliteFile });

export const oursCached = (setting: Setting): Contestant => oursWith(postgres(setting), { cache: { ttl: '10s' } });

/** Each token is written once, and never again. */
export const oursWithoutLastUse = (setting: Setting): Contestant =>
  oursWith(postgres(setting), { lastUsedAccuracy: '3650d' });

const ACCURACY_MS = 60_000;

/** Of each token the last use is written once a minute, and it is dead when it was not used for a month. */
export const oursWithLastUse = (setting: Setting): Contestant => ({
  ...oursWith(postgres(setting), { idle: '30d', lastUsedAccuracy: ACCURACY_MS }),
  // Between two rounds all tokens come due. Under a steady load as many would in each second of the minute.
  async settle(app) {
    const lastUsedAt = () => `CAST(extract(epoch FROM now()) * 1000 - random() * ${ACCURACY_MS} AS bigint)`;
    await app.get(DataSource).createQueryBuilder().update(Token).set({ lastUsedAt }).execute();
  },
});
