import { type LoggerService, Module, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import type { DataSource } from 'typeorm';
import { USER_STORE } from '../expiring-token.constants.js';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { ExpiringTokenModule } from '../expiring-token.module.js';
import type { ExpiringTokenModuleOptions } from '../expiring-token.module-options.js';
import { entitiesOf } from '../expiring-token.startup-checks.js';
import { resolveForRootOptions } from '../expiring-token.module-options.js';
import { describeError } from '../errors/describe-error.js';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import type { UserStore } from '../users/user-store.js';
import { UserService } from '../accounts/user.service.js';
import { loadDataSource } from './data-source.js';

/** The package at work on the database of a data source. */
export interface Application {
  tokens: ExpiringTokenService;
  users: UserStore;
  /** Null where the users are in a store of the application's. */
  userService: UserService | null;
  options: ExpiringTokenModuleOptions;
}

/** Keeps the last error that the package logged: why the database could not be asked. */
class LastError implements LoggerService {
  reason: string | undefined;

  error(message: unknown, ...rest: unknown[]): void {
    if (rest.at(-1) === 'ExpiringToken') this.reason = String(message).replace(/^Answering 503[^:]*: /, '');
  }

  log(): void {}
  warn(): void {}
}

/**
 * Does some work with the module as an application has it, without its routes and what it does in the background.
 *
 * @param path - of the file of a data source
 */
export async function withApplication<T>(path: string, work: (application: Application) => Promise<T>): Promise<T> {
  const { dataSource, options } = await loadDataSource(path);
  const structure = resolveForRootOptions({ ...options, routes: false });
  await connect(dataSource, Object.values(entitiesOf(structure)));

  @Module({
    imports: [
      TypeOrmModule.forRootAsync({
        name: structure.dataSource,
        useFactory: () => ({ ...dataSource.options, retryAttempts: 1 }),
        dataSourceFactory: async () => dataSource,
      }),
      ExpiringTokenModule.forRoot({ ...options, routes: false, prune: false }),
    ],
  })
  class CommandLineModule {}

  const logger = new LastError();
  const app = await NestFactory.createApplicationContext(CommandLineModule, { logger, abortOnError: false });
  try {
    return await work({
      tokens: app.get(ExpiringTokenService, { strict: false }),
      users: app.get<UserStore>(USER_STORE, { strict: false }),
      userService: options.users ? null : app.get(UserService, { strict: false }),
      options,
    });
  } catch (error) {
    const isUnavailable = error instanceof ExpiringTokenException && error.code === 'unavailable';
    throw isUnavailable && logger.reason ? new Error(logger.reason, { cause: error }) : error;
  } finally {
    await app.close();
  }
}

/** Connects as the application does, but changes no table, and prints no statement among the results. */
async function connect(dataSource: DataSource, entities: readonly Type[]): Promise<void> {
  // It may know other entities.
  if (dataSource.isInitialized) await dataSource.destroy();
  const own = Object.values((dataSource.options.entities ?? []) as Record<string, Type>);
  dataSource.setOptions({
    entities: [...own, ...entities],
    synchronize: false,
    migrationsRun: false,
    dropSchema: false,
    // TypeORM takes false for not given.
    logging: [],
  });
  try {
    await dataSource.initialize();
  } catch (error) {
    throw new Error(`Cannot connect to the database: ${describeError(error)}`, { cause: error });
  }
}
