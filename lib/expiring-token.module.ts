import {
  type DynamicModule,
  Inject,
  Module,
  type OnApplicationBootstrap,
  type OnModuleInit,
  type Provider,
} from '@nestjs/common';
import { APP_GUARD, HttpAdapterHost, ModuleRef, ModulesContainer, RouterModule } from '@nestjs/core';
import { getDataSourceToken, getRepositoryToken, TypeOrmModule } from '@nestjs/typeorm';
import type { DataSource } from 'typeorm';
import { builtInUsers, UserService } from './accounts/user.service.js';
import { AuthenticationLogger } from './authentication/authentication.logger.js';
import { ExpiringTokenGuard } from './authentication/expiring-token.guard.js';
import { ExpiringTokenStrategy } from './authentication/expiring-token.strategy.js';
import { RequestAuthenticator } from './authentication/request-authenticator.js';
import { RequestOwner } from './authentication/request-owner.js';
import { ResponseHeadersInterceptor } from './authentication/response-headers.interceptor.js';
import { SocketAuthenticator } from './authentication/socket-authenticator.js';
import type { Database } from './database/database.js';
import { deriveNamespace } from './database/namespace.js';
import { openDatabase } from './database/open-database.js';
import { ExpiringTokenOptionsError } from './errors/expiring-token-options.error.js';
import { HideFromInspect } from './errors/hide-from-inspect.decorator.js';
import {
  CLOCK,
  DATA_SOURCE,
  DATABASE,
  MODULE_EXTRAS,
  NAMESPACE,
  RESOLVED_OPTIONS,
  USER_STORE,
} from './expiring-token.constants.js';
import {
  ASYNC_OPTIONS_TYPE,
  ConfigurableModuleClass,
  MODULE_OPTIONS_TOKEN,
} from './expiring-token.module-definition.js';
import {
  type ExpiringTokenModuleOptions,
  type ResolvedModuleOptions,
  resolveForRootAsyncOptions,
  resolveForRootOptions,
} from './expiring-token.module-options.js';
import { checkColumns, checkDataSource, checkEntities, entitiesOf } from './expiring-token.startup-checks.js';
import { RouteDocumentation } from './openapi/route-documentation.js';
import type { Duration } from './options/duration.js';
import { type ResolvedOptions, resolveOptions } from './options/resolve-options.js';
import { redactBodyParserErrors } from './routes/body-parser-errors.js';
import { LoginThrottle } from './routes/login/login.throttle.js';
import { LoginVerifier } from './routes/login/login.verifier.js';
import { PasswordLogin } from './routes/login/password-login.js';
import { ROUTES } from './routes/routes.js';
import { TokenResponses } from './routes/token-response.js';
import { TokenEvents } from './tokens/events/token.events.js';
import { DeviceQueries } from './tokens/device.queries.js';
import { ExpiringTokenService } from './tokens/expiring-token.service.js';
import { LastUse } from './tokens/last-use.js';
import { TokenCache } from './tokens/lookup/token.cache.js';
import { TokenLookup } from './tokens/lookup/token.lookup.js';
import { RemoteChanges, TokenChanges } from './tokens/token-changes.js';
import { TokenValidity } from './tokens/token-lifetime.js';
import { TokenAuthenticator } from './tokens/token.authenticator.js';
import { TokenIssuer } from './tokens/token.issuer.js';
import { TokenPruner } from './tokens/token.pruner.js';
import { TokenFactory } from './tokens/token.factory.js';
import { TokenQueries } from './tokens/token.queries.js';
import { RefreshTransactions } from './tokens/refresh.transactions.js';
import { TokenRefresher } from './tokens/token.refresher.js';
import { TokenStore } from './tokens/token.store.js';
import { TokenTransactions } from './tokens/token.transactions.js';
import { UserTransactions } from './tokens/user.transactions.js';
import { OpenConnections } from './transports/open-connections.js';
import { UpgradeRequests } from './transports/upgrade-requests.js';
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
export class ExpiringTokenModule extends ConfigurableModuleClass implements OnModuleInit, OnApplicationBootstrap {
  /** @internal Called by Nest. */
  constructor(
    modules: ModulesContainer,
    private readonly host: HttpAdapterHost,
    @Inject(MODULE_EXTRAS) private readonly extras: ResolvedModuleOptions,
    private readonly module: ModuleRef,
  ) {
    super();
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

  /** Applies the options that concern the whole process, or the HTTP server. */
  onModuleInit(): void {
    const { hashConcurrency } = this.module.get<ResolvedOptions>(RESOLVED_OPTIONS);
    if (hashConcurrency !== null) setHashConcurrency(hashConcurrency);
    // An application without HTTP has no adapter.
    if (this.host.httpAdapter) redactBodyParserErrors(this.host.httpAdapter, this.extras);
  }

  /** Checks the tables. This is late, so that an application can run its migrations after its creation. */
  async onApplicationBootstrap(): Promise<void> {
    await checkColumns(this.module.get<DataSource>(DATA_SOURCE), this.module.get<Database>(DATABASE), this.extras);
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
  const { imports, path, routes, isGlobal, globalGuard } = extras;
  const repositories = repositoryProviders(extras);
  return {
    ...definition,
    global: isGlobal,
    imports: [
      ...new Set([...(definition.imports ?? []), ...imports]),
      RouterModule.register([{ path, module: ExpiringTokenModule }]),
    ],
    controllers: routes.map((route) => ROUTES[route].controller),
    providers: [
      ...(definition.providers ?? []),
      ...optionProviders(extras),
      ...databaseProviders(extras),
      ...repositories,
      ...userProviders(extras),
      ...TOKEN_PROVIDERS,
      ...AUTHENTICATION_PROVIDERS,
      ...ROUTE_PROVIDERS,
      ...(globalGuard ? [{ provide: APP_GUARD, useExisting: ExpiringTokenGuard }] : []),
    ],
    exports: [...EXPORTS, extras.users ?? UserService, ...repositories.map(({ provide }) => provide)],
  };
}

const TOKEN_PROVIDERS: Provider[] = [
  DeviceQueries,
  ExpiringTokenService,
  LastUse,
  RefreshTransactions,
  RemoteChanges,
  TokenAuthenticator,
  TokenCache,
  TokenChanges,
  TokenEvents,
  TokenFactory,
  TokenIssuer,
  TokenLookup,
  TokenPruner,
  TokenQueries,
  TokenRefresher,
  TokenStore,
  TokenTransactions,
  TokenValidity,
  UserTransactions,
];

const AUTHENTICATION_PROVIDERS: Provider[] = [
  AuthenticationLogger,
  ExpiringTokenGuard,
  ExpiringTokenStrategy,
  OpenConnections,
  RequestAuthenticator,
  RequestOwner,
  ResponseHeadersInterceptor,
  SocketAuthenticator,
  UpgradeRequests,
];

const ROUTE_PROVIDERS: Provider[] = [LoginThrottle, LoginVerifier, PasswordLogin, RouteDocumentation, TokenResponses];

/** What other modules can inject. Nest creates the guard again in each module that uses it, so its dependencies are exported. */
const EXPORTS = [
  ExpiringTokenGuard,
  ExpiringTokenService,
  RequestAuthenticator,
  ResponseHeadersInterceptor,
  SocketAuthenticator,
];

const optionProviders = (extras: ResolvedModuleOptions): Provider[] => [
  { provide: MODULE_EXTRAS, useValue: extras },
  { provide: RESOLVED_OPTIONS, useFactory: resolveOptions, inject: [MODULE_OPTIONS_TOKEN] },
  { provide: CLOCK, useValue: () => Date.now() },
];

const databaseProviders = (extras: ResolvedModuleOptions): Provider[] => [
  {
    provide: DATA_SOURCE,
    useFactory: (_: unknown, dataSource?: DataSource) =>
      checkEntities(checkDataSource(dataSource, extras.dataSource), extras),
    // Nest resolves the options first, so an invalid option is reported before a missing data source.
    inject: [RESOLVED_OPTIONS, { token: getDataSourceToken(extras.dataSource), optional: true }],
  },
  {
    provide: NAMESPACE,
    useFactory: ({ namespace }: ResolvedOptions, dataSource: DataSource) =>
      namespace ?? deriveNamespace(dataSource, extras.tokenEntity),
    inject: [RESOLVED_OPTIONS, DATA_SOURCE],
  },
  { provide: DATABASE, useFactory: openDatabase, inject: [DATA_SOURCE, NAMESPACE] },
];

/** The store of the users, and for the built-in store the service that manages them. */
function userProviders({ users, userEntity }: ResolvedModuleOptions): Provider[] {
  if (users) return [users, { provide: USER_STORE, useExisting: users }];
  return [{ provide: USER_STORE, useClass: builtInUsers(userEntity) }, UserService];
}

/** The repositories that `@InjectRepository()` injects, as `TypeOrmModule.forFeature()` would provide them. */
function repositoryProviders(extras: ResolvedModuleOptions) {
  const entities = Object.values(entitiesOf(extras));
  // The call registers the entities for autoLoadEntities. Its providers are not used, because without a data source they would
  // fail before this module can report what is missing.
  TypeOrmModule.forFeature(entities, extras.dataSource);
  return entities.map((entity) => ({
    provide: getRepositoryToken(entity, extras.dataSource),
    useFactory: (dataSource: DataSource) => dataSource.getRepository(entity),
    inject: [DATA_SOURCE],
  }));
}
