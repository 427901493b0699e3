import {
  type DynamicModule,
  Inject,
  Module,
  type OnApplicationBootstrap,
  type OnModuleInit,
  type Provider,
  type Type,
} from '@nestjs/common';
import { APP_GUARD, HttpAdapterHost, ModuleRef, ModulesContainer, RouterModule } from '@nestjs/core';
import { getDataSourceToken, getRepositoryToken, TypeOrmModule } from '@nestjs/typeorm';
import type { DataSource } from 'typeorm';
import { TokenCache } from './tokens/token.cache.js';
import type { Database } from './database/database.js';
import { openDatabase } from './database/open-database.js';
import {
  CLOCK,
  DATA_SOURCE,
  DATABASE,
  RESOLVED_OPTIONS,
  MODULE_EXTRAS,
  USER_STORE,
} from './expiring-token.constants.js';
import {
  ASYNC_OPTIONS_TYPE,
  ConfigurableModuleClass,
  MODULE_OPTIONS_TOKEN,
} from './expiring-token.module-definition.js';
import type { Duration } from './options/duration.js';
import type { ExpiringTokenModuleOptions, ExpiringTokenRoute } from './expiring-token.module-options.js';
import { HideFromInspect } from './errors/hide-from-inspect.decorator.js';
import { ExpiringTokenOptionsError } from './errors/expiring-token-options.error.js';
import {
  resolveForRootAsyncOptions,
  resolveForRootOptions,
  type ResolvedModuleOptions,
} from './expiring-token.module-options.js';
import { type ResolvedOptions, resolveOptions } from './options/resolve-options.js';
import { entitiesOf, checkColumns, checkDataSource, checkEntities } from './expiring-token.startup-checks.js';
import { ResponseHeadersInterceptor } from './authentication/response-headers.interceptor.js';
import { RouteDocumentation } from './openapi/route-documentation.js';
import { AuthenticationLogger } from './authentication/authentication.logger.js';
import { DevicesController } from './routes/devices.controller.js';
import { ExpiringTokenGuard } from './authentication/expiring-token.guard.js';
import { ExpiringTokenStrategy } from './authentication/expiring-token.strategy.js';
import { LoginController, ObtainTokenController } from './routes/login.controller.js';
import { LoginThrottle } from './routes/login/login.throttle.js';
import { LoginVerifier } from './routes/login/login.verifier.js';
import { PasswordLogin } from './routes/login/password-login.js';
import { RequestAuthenticator } from './authentication/request-authenticator.js';
import { LogoutController } from './routes/logout.controller.js';
import { ownController } from './openapi/controller-copy.js';
import { RefreshController } from './routes/refresh.controller.js';
import { SocketAuthenticator } from './authentication/socket-authenticator.js';
import { TokenController } from './routes/token.controller.js';
import { TokenResponses } from './routes/token-response.js';
import { redactBodyParserErrors } from './routes/body-parser-errors.js';
import { UpgradeRequests } from './transports/upgrade-requests.js';
import { OpenConnections } from './transports/open-connections.js';
import { ExpiringTokenService } from './tokens/expiring-token.service.js';
import { LastUse } from './tokens/last-use.js';
import { TokenEvents } from './tokens/events/token.events.js';
import { TokenLookup } from './tokens/token.lookup.js';
import { TokenPruner } from './tokens/token.pruner.js';
import { TokenTransactions } from './tokens/token.transactions.js';
import { TokenStore } from './tokens/token.store.js';
import { setHashConcurrency } from './users/password-hash.js';
import { typeOrmUsers } from './users/typeorm-users.js';
import { User } from './users/user.entity.js';
import { UserService } from './accounts/user.service.js';

const CONTROLLERS: Record<ExpiringTokenRoute, Type> = {
  login: LoginController,
  'obtain-token': ObtainTokenController,
  token: TokenController,
  refresh: RefreshController,
  logout: LogoutController,
  devices: DevicesController,
};

const BuiltInUsers = typeOrmUsers(User, {
  id: 'id',
  username: 'username',
  password: 'password',
  active: 'active',
});

const IMPORT_ONCE = 'Import ExpiringTokenModule.forRoot() once, and set isGlobal: true to use it in other modules.';

/** Stands where `forRoot` and `forRootAsync` put the options. */
function refuseWithoutOptions(): never {
  throw new ExpiringTokenOptionsError('imports', 'ExpiringTokenModule is imported without options', IMPORT_ONCE);
}

/**
 * Opaque bearer tokens that expire, live in the application's own database, and can be revoked at once.
 *
 * @example
 * ```ts
 * @Module({ imports: [TypeOrmModule.forRoot({ ...database, autoLoadEntities: true }), ExpiringTokenModule.forRoot('30d')] })
 * export class AppModule {}
 * ```
 */
@HideFromInspect()
@Module({ providers: [{ provide: MODULE_EXTRAS, useFactory: refuseWithoutOptions }] })
export class ExpiringTokenModule extends ConfigurableModuleClass implements OnModuleInit, OnApplicationBootstrap {
  /** @internal Nest makes it. */
  constructor(
    modules: ModulesContainer,
    private readonly host: HttpAdapterHost,
    @Inject(MODULE_EXTRAS) private readonly structure: ResolvedModuleOptions,
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
   * @param options - the lifespan of tokens, or all options; by default tokens live for 30 days
   */
  static override forRoot(options: Duration | ExpiringTokenModuleOptions = {}): DynamicModule {
    const all = typeof options === 'object' ? options : { lifespan: options };
    return assemble(super.forRoot(all ?? {}), () => resolveForRootOptions(all));
  }

  /**
   * Registers the module with options from a factory, a class or an existing provider. The structural options are given
   * here, beside it.
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

  /** Puts into effect what the options say of the whole process, and of the HTTP server. */
  onModuleInit(): void {
    const { hashConcurrency } = this.module.get<ResolvedOptions>(RESOLVED_OPTIONS);
    if (hashConcurrency !== null) setHashConcurrency(hashConcurrency);
    // There is no adapter in an application without HTTP.
    if (this.host.httpAdapter) redactBodyParserErrors(this.host.httpAdapter, this.structure);
  }

  /** Late, so that an application can run its migrations between its creation and its start. */
  async onApplicationBootstrap(): Promise<void> {
    await checkColumns(this.module.get<DataSource>(DATA_SOURCE), this.module.get<Database>(DATABASE), this.structure);
  }
}

/**
 * The module as its structural options shape it. Bad ones stop the start where all bad options do: when Nest makes the
 * module, and not when the file that imports it is loaded.
 */
function assemble(definition: DynamicModule, resolve: () => ResolvedModuleOptions): DynamicModule {
  let structure: ResolvedModuleOptions;
  try {
    structure = resolve();
  } catch (error) {
    const fail = () => {
      throw error;
    };
    return { ...definition, providers: [{ provide: MODULE_EXTRAS, useFactory: fail }] };
  }
  const { users = BuiltInUsers, imports, path, routes, isGlobal, globalGuard, dataSource, tokenEntity } = structure;
  const builtIn = users === BuiltInUsers;
  const entities = Object.values(entitiesOf(structure));
  // Registers the entities for autoLoadEntities. The repositories are provided here: its own would fail without a data
  // source before this module could tell what is missing.
  TypeOrmModule.forFeature(entities, dataSource);
  const repositories = entities.map((entity) => ({
    provide: getRepositoryToken(entity, dataSource),
    useFactory: (source: DataSource) => source.getRepository(entity),
    inject: [DATA_SOURCE],
  }));
  const providers: Provider[] = [
    { provide: MODULE_EXTRAS, useValue: structure },
    { provide: RESOLVED_OPTIONS, useFactory: resolveOptions, inject: [MODULE_OPTIONS_TOKEN] },
    { provide: CLOCK, useValue: () => Date.now() },
    {
      provide: DATA_SOURCE,
      useFactory: (_: unknown, found?: DataSource) => checkEntities(checkDataSource(found, dataSource), structure),
      // A bad option is told first.
      inject: [RESOLVED_OPTIONS, { token: getDataSourceToken(dataSource), optional: true }],
    },
    { provide: DATABASE, useFactory: openDatabase, inject: [DATA_SOURCE] },
    {
      provide: TokenStore,
      useFactory: (database: Database, source: DataSource, { lifetimes }: ResolvedOptions) =>
        new TokenStore(database, source, tokenEntity, lifetimes),
      inject: [DATABASE, DATA_SOURCE, RESOLVED_OPTIONS],
    },
    ...repositories,
    users,
    { provide: USER_STORE, useExisting: users },
    ...(builtIn ? [UserService] : []),
    TokenTransactions,
    TokenPruner,
    TokenEvents,
    LastUse,
    TokenLookup,
    TokenCache,
    ExpiringTokenService,
    OpenConnections,
    RequestAuthenticator,
    SocketAuthenticator,
    UpgradeRequests,
    ResponseHeadersInterceptor,
    AuthenticationLogger,
    LoginThrottle,
    TokenResponses,
    LoginVerifier,
    PasswordLogin,
    ExpiringTokenStrategy,
    ExpiringTokenGuard,
    RouteDocumentation,
    ...(globalGuard ? [{ provide: APP_GUARD, useExisting: ExpiringTokenGuard }] : []),
  ];
  return {
    ...definition,
    global: isGlobal,
    imports: [
      ...new Set([...(definition.imports ?? []), ...imports]),
      RouterModule.register([{ path, module: ExpiringTokenModule }]),
    ],
    controllers: routes.map((route) => ownController(CONTROLLERS[route])),
    providers: [...(definition.providers ?? []), ...providers],
    // The guard is made anew in each module that uses it, out of these.
    exports: [
      ExpiringTokenGuard,
      RequestAuthenticator,
      ResponseHeadersInterceptor,
      ExpiringTokenService,
      SocketAuthenticator,
      ...(builtIn ? [UserService] : []),
      ...repositories.map(({ provide }) => provide),
    ],
  };
}
