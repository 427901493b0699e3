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
import { PersonalTokenService } from '../tokens/personal/personal-token.service.js';
import type { UserStore } from '../users/user-store.js';
import { UserService } from '../accounts/user.service.js';
import { loadDataSource } from './data-source.js';

/** The module, running on the database of a data source file. */
export interface Application {
  tokens: ExpiringTokenService;
  personalTokens: PersonalTokenService;
  users: UserStore;
  /** Null if the users are in the application's own store. */
  userService: UserService | null;
  options: ExpiringTokenModuleOptions;
}

/** A logger that keeps the last error of the package: the reason of a 503 response. */
class LastError implements LoggerService {
  reason: string | undefined;

  error(message: unknown, ...rest: unknown[]): void {
    if (rest.at(-1) === 'ExpiringToken') this.reason = String(message).replace(/^Answering 503[^:]*: /, '');
  }

  log(): void {}
  warn(): void {}
}

/**
 * Starts an application with the module, without routes and background work, and closes it after some work.
 *
 * @param path - path of the data source file
 */
export async function withApplication<T>(path: string, work: (application: Application) => Promise<T>): Promise<T> {
  const { dataSource, options } = await loadDataSource(path);
  const moduleOptions = resolveForRootOptions({ ...options, routes: false });
  await connect(dataSource, Object.values(entitiesOf(moduleOptions)));

  @Module({
    imports: [
      TypeOrmModule.forRootAsync({
        name: moduleOptions.dataSource,
        useFactory: () => ({ ...dataSource.options, retryAttempts: 1 }),
        dataSourceFactory: async () => dataSource,
      }),
      ExpiringTokenModule.forRoot({ ...options, routes: false, prune: false, loginThrottle: false }),
    ],
  })
  class CommandLineModule {}

  const logger = new LastError();
  const app = await NestFactory.createApplicationContext(CommandLineModule, { logger, abortOnError: false });
  try {
    return await work({
      tokens: app.get(ExpiringTokenService, { strict: false }),
      personalTokens: app.get(PersonalTokenService, { strict: false }),
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

/** Connects to the database, without changing a table, and without logging statements into the output. */
async function connect(dataSource: DataSource, entities: readonly Type[]): Promise<void> {
  // It may have been initialized with other entities.
  if (dataSource.isInitialized) await dataSource.destroy();
  const registered = Object.values((dataSource.options.entities ?? []) as Record<string, Type>);
  dataSource.setOptions({
    entities: [...registered, ...entities],
    synchronize: false,
    migrationsRun: false,
    dropSchema: false,
    // TypeORM treats false as not set.
    logging: [],
  });
  try {
    await dataSource.initialize();
  } catch (error) {
    throw new Error(`Cannot connect to the database: ${describeError(error)}`, { cause: error });
  }
}
