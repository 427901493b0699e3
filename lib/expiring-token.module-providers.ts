import type { InjectionToken, Provider } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { getDataSourceToken } from '@nestjs/typeorm';
import type { DataSource } from 'typeorm';
import { builtInUsers, UserService } from './accounts/user.service.js';
import { AuthenticationLogger } from './authentication/authentication.logger.js';
import { ExpiringTokenGuard } from './authentication/expiring-token.guard.js';
import { ExpiringTokenStrategy } from './authentication/expiring-token.strategy.js';
import { RequestAuthenticator } from './authentication/request-authenticator.js';
import { RequestOwner } from './authentication/request-owner.js';
import { ResponseHeadersInterceptor } from './authentication/response-headers.interceptor.js';
import { SocketAuthenticator } from './authentication/socket-authenticator.js';
import { deriveNamespace } from './database/namespace.js';
import { openDatabase } from './database/open-database.js';
import {
  CLOCK,
  DATA_SOURCE,
  DATABASE,
  MODULE_EXTRAS,
  NAMESPACE,
  RESOLVED_OPTIONS,
  USER_STORE,
} from './expiring-token.constants.js';
import { GlobalGuard } from './authentication/global.guard.js';
import { MODULE_OPTIONS_TOKEN } from './expiring-token.module-definition.js';
import type { ResolvedModuleOptions } from './expiring-token.module-options.js';
import { repositoryProviders, repositoryTokens } from './expiring-token.repositories.js';
import { checkDataSource, checkEntities } from './expiring-token.startup-checks.js';
import { RouteDocumentation } from './openapi/route-documentation.js';
import { type ResolvedOptions, resolveOptions } from './options/resolve-options.js';
import { LoginFailures } from './routes/login/login-failures.js';
import { LoginThrottle } from './routes/login/login.throttle.js';
import { LoginVerifier } from './routes/login/login.verifier.js';
import { PasswordLogin } from './routes/login/password-login.js';
import { TokenResponses } from './routes/token-response.js';
import { DeviceQueries } from './tokens/device.queries.js';
import { TokenEvents } from './tokens/events/token.events.js';
import { ExpiringTokenService } from './tokens/expiring-token.service.js';
import { LastUse } from './tokens/last-use.js';
import { LastUseStore } from './tokens/last-use.store.js';
import { TokenCache } from './tokens/lookup/token.cache.js';
import { TokenLookup } from './tokens/lookup/token.lookup.js';
import { PersonalTokenQueries } from './tokens/personal/personal-token.queries.js';
import { PersonalTokenService } from './tokens/personal/personal-token.service.js';
import { PersonalTokenTransactions } from './tokens/personal/personal-token.transactions.js';
import { RefreshTransactions } from './tokens/transactions/refresh.transactions.js';
import { RemoteChanges, TokenChanges } from './tokens/token-changes.js';
import { TokenValidity } from './tokens/token-lifetime.js';
import { TokenAuthenticator } from './tokens/token.authenticator.js';
import { TokenFactory } from './tokens/token.factory.js';
import { TokenIssuer } from './tokens/transactions/token.issuer.js';
import { TokenPruner } from './tokens/token.pruner.js';
import { TokenQueries } from './tokens/token.queries.js';
import { TokenRefresher } from './tokens/token.refresher.js';
import { TokenStore } from './tokens/token.store.js';
import { TokenTransactions } from './tokens/transactions/token.transactions.js';
import { UserTransactions } from './tokens/transactions/user.transactions.js';
import { OpenConnections } from './transports/open-connections.js';
import { UpgradeRequests } from './transports/upgrade-requests.js';

/**
 * Returns the providers of the module.
 *
 * @param extras - the structural options, which decide what there is
 */
export const createProviders = (extras: ResolvedModuleOptions): Provider[] => [
  ...optionProviders(extras),
  ...databaseProviders(extras),
  ...repositoryProviders(extras),
  ...userProviders(extras),
  ...TOKEN_PROVIDERS,
  ...AUTHENTICATION_PROVIDERS,
  ...ROUTE_PROVIDERS,
  ...(extras.globalGuard ? [{ provide: APP_GUARD, useClass: GlobalGuard }] : []),
];

/** Returns what other modules can inject. Nest creates the guard again in each module that uses it, so its dependencies are exported. */
export const createExports = (extras: ResolvedModuleOptions): InjectionToken[] => [
  ExpiringTokenGuard,
  ExpiringTokenService,
  PersonalTokenService,
  RequestAuthenticator,
  ResponseHeadersInterceptor,
  SocketAuthenticator,
  extras.users ?? UserService,
  ...repositoryTokens(extras),
];

const TOKEN_PROVIDERS: Provider[] = [
  DeviceQueries,
  ExpiringTokenService,
  LastUse,
  LastUseStore,
  PersonalTokenQueries,
  PersonalTokenService,
  PersonalTokenTransactions,
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

const ROUTE_PROVIDERS: Provider[] = [
  LoginFailures,
  LoginThrottle,
  LoginVerifier,
  PasswordLogin,
  RouteDocumentation,
  TokenResponses,
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
  {
    provide: DATABASE,
    useFactory: (dataSource: DataSource) => openDatabase(dataSource, extras.tokenEntity),
    inject: [DATA_SOURCE],
  },
];

/** The store of the users, and for the built-in store the service that manages them. */
function userProviders({ users, userEntity }: ResolvedModuleOptions): Provider[] {
  if (users) return [users, { provide: USER_STORE, useExisting: users }];
  return [{ provide: USER_STORE, useClass: builtInUsers(userEntity) }, UserService];
}
