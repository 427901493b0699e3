import {
  type DynamicModule,
  Inject,
  Module,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type OnModuleInit,
} from '@nestjs/common';
import { ApplicationConfig, HttpAdapterHost, ModuleRef, ModulesContainer } from '@nestjs/core';
import type { DataSource } from 'typeorm';
import type { Database } from './database/database.js';
import { ExpiringTokenOptionsError } from './errors/expiring-token-options.error.js';
import { HideFromInspect } from './errors/hide-from-inspect.decorator.js';
import { DATA_SOURCE, DATABASE, MODULE_EXTRAS, RESOLVED_OPTIONS } from './expiring-token.constants.js';
import {
  checkCopies,
  checkGlobalGuards,
  checkScopeNames,
  checkScopes,
  moduleOf,
} from './container/container.checks.js';
import { checkGateways, checkRequirements } from './container/guard.checks.js';
import { ASYNC_OPTIONS_TYPE, ConfigurableModuleClass } from './expiring-token.module-definition.js';
import {
  type ExpiringTokenModuleOptions,
  type ResolvedModuleOptions,
  resolveForRootAsyncOptions,
  resolveForRootOptions,
} from './expiring-token.module-options.js';
import { createExports, createProviders } from './expiring-token.module-providers.js';
import { checkRepositories } from './expiring-token.repositories.js';
import { checkTables } from './expiring-token.startup-checks.js';
import type { Duration } from './options/duration.js';
import type { ResolvedOptions } from './options/resolve-options.js';
import { redactBodyParserErrors } from './routes/body-parser-errors.js';
import { createControllers } from './routes/routes.js';
import { endIdleThreads } from './users/argon2.js';
import { setHashConcurrency } from './users/password-hash.js';

const IMPORT_ONCE =
  'Import ExpiringTokenModule.forRoot() exactly once, and set isGlobal: true to use its exports in other modules.';

/** Replaced by the options of `forRoot` and `forRootAsync`. */
function failWithoutOptions(): never {
  throw new ExpiringTokenOptionsError('imports', 'ExpiringTokenModule is imported without options', IMPORT_ONCE);
}

/**
 * Opaque bearer tokens that expire, live in the application's own database, and can be revoked immediately.
 *
 * @example
 * ```ts
 * @Module({ imports: [TypeOrmModule.forRoot({ ...database, autoLoadEntities: true }), ExpiringTokenModule.forRoot('30d')] })
 * export class AppModule {}
 * ```
 */
@HideFromInspect()
@Module({ providers: [{ provide: MODULE_EXTRAS, useFactory: failWithoutOptions }] })
export class ExpiringTokenModule
  extends ConfigurableModuleClass
  implements OnModuleInit, OnApplicationBootstrap, OnApplicationShutdown
{
  /** @internal Called by Nest. */
  constructor(
    private readonly modules: ModulesContainer,
    private readonly host: HttpAdapterHost,
    @Inject(MODULE_EXTRAS) private readonly extras: ResolvedModuleOptions,
    private readonly module: ModuleRef,
  ) {
    super();
    checkCopies(modules, ExpiringTokenModule);
    if ([...modules.values()].filter(({ metatype }) => metatype === ExpiringTokenModule).length > 1) {
      throw new ExpiringTokenOptionsError(
        'strategy',
        'the Passport strategy expiring-token is registered twice, because the module is imported twice',
        IMPORT_ONCE,
      );
    }
  }

  /**
   * Registers the module.
   *
   * @param options - the lifespan of tokens, or all options. By default tokens are live for 30 days
   */
  static override forRoot(options: Duration | ExpiringTokenModuleOptions = {}): DynamicModule {
    const all = typeof options === 'object' ? options : { lifespan: options };
    return assemble(super.forRoot(all ?? {}), () => resolveForRootOptions(all));
  }

  /**
   * Registers the module with options from a factory, a class or an existing provider. The structural options are given
   * here, beside the factory.
   *
   * @example
   * ```ts
   * ExpiringTokenModule.forRootAsync({
   *   inject: [ConfigService],
   *   useFactory: (config: ConfigService) => ({ lifespan: config.getOrThrow('TOKEN_LIFESPAN') }),
   * })
   * ```
   */
  static override forRootAsync(options: typeof ASYNC_OPTIONS_TYPE): DynamicModule {
    return assemble(super.forRootAsync(options), () => resolveForRootAsyncOptions(options));
  }

  /** Checks what Nest created, and applies the options that concern the whole process, or the HTTP server. */
  onModuleInit(): void {
    const own = moduleOf(this.modules, this);
    checkScopes(own, this.extras.users);
    checkGlobalGuards(this.modules);
    checkRepositories(this.modules, own, this.extras);
    const { hashConcurrency, scopes } = this.module.get<ResolvedOptions>(RESOLVED_OPTIONS);
    checkScopeNames(this.modules, scopes);
    if (hashConcurrency !== null) setHashConcurrency(hashConcurrency);
    // An application without HTTP has no adapter.
    if (this.host.httpAdapter) redactBodyParserErrors(this.host.httpAdapter);
  }

  /**
   * Checks the handlers, after the application registered its global guards, and the tables, so that an application can run its
   * migrations after its creation.
   */
  async onApplicationBootstrap(): Promise<void> {
    const config = this.module.get(ApplicationConfig);
    checkGateways(this.modules, config);
    checkRequirements(this.modules, config);
    await checkTables(this.module.get<DataSource>(DATA_SOURCE), this.module.get<Database>(DATABASE), this.extras);
  }

  /** All applications of the process share the threads: another application starts a new one at its next hash. */
  async onApplicationShutdown(): Promise<void> {
    await endIdleThreads();
  }
}

/**
 * Builds the module for its structural options. Invalid options are reported when Nest creates the module, as all invalid
 * options are, and not when the file that imports the module is loaded.
 */
function assemble(definition: DynamicModule, resolve: () => ResolvedModuleOptions): DynamicModule {
  let extras: ResolvedModuleOptions;
  try {
    extras = resolve();
  } catch (error) {
    const fail = () => {
      throw error;
    };
    return { ...definition, providers: [{ provide: MODULE_EXTRAS, useFactory: fail }] };
  }
  const { imports, path, routes, isGlobal } = extras;
  return {
    ...definition,
    global: isGlobal,
    imports: [...new Set([...(definition.imports ?? []), ...imports])],
    controllers: createControllers(path, routes),
    providers: [...(definition.providers ?? []), ...createProviders(extras)],
    exports: createExports(extras),
  };
}
