export type { CacheStatus } from './tokens/token.interfaces.js';
export type { Duration } from './options/duration.js';
export { ExpiringTokenException, type ExpiringTokenErrorCode } from './errors/expiring-token.exception.js';
export { ExpiringTokenModule } from './expiring-token.module.js';
export type {
  ExpiringTokenOptions,
  ExpiringTokenOptionsFactory,
  ImportedShape,
  ObtainPolicy,
} from './options/expiring-token.options.js';
export type {
  CacheOptions,
  LimitOptions,
  LoginThrottleOptions,
  PasswordOptions,
  PersonalOptions,
  PruneOptions,
  RefreshOptions,
} from './options/nested.options.js';
export type {
  ExpiringTokenModuleOptions,
  ExpiringTokenRoute,
  ExpiringTokenStructuralOptions,
} from './expiring-token.module-options.js';
export { ApiExpiringToken } from './openapi/describe-route.decorator.js';
export {
  CurrentActor,
  CurrentToken,
  CurrentUser,
  OptionalToken,
  Public,
  RequireLogin,
  RequireAnyScope,
  RequireScopes,
  RequireToken,
} from './authentication/expiring-token.decorators.js';
export { ExpiringTokenGuard } from './authentication/expiring-token.guard.js';
export type { ExpiringTokenAuthInfo, HttpRequest } from './transports/http-request.js';
export { SocketAuthenticator } from './authentication/socket-authenticator.js';
export { ExpiringTokenOptionsError } from './errors/expiring-token-options.error.js';
export type { Device } from './tokens/device.js';
export { ExpiringTokenService } from './tokens/expiring-token.service.js';
export type {
  AccessEvent,
  ActorEvent,
  DeviceEvent,
  ExpiredEvent,
  ExpiringTokenEvents,
  IssuedEvent,
  LoginFailedEvent,
  PasswordChangedEvent,
  PrunedEvent,
  RefreshedEvent,
  ReplayedEvent,
  ReusedEvent,
  RevocationReason,
  RevokedEvent,
} from './tokens/events/event.interfaces.js';
export type {
  Authentication,
  ChangeOptions,
  DeviceOptions,
  ImportedToken,
  IssuedPair,
  IssuedToken,
  IssueOptions,
  LoggedIn,
  LogInOptions,
  PruneJob,
  PruneProgress,
  RevokeAllOptions,
} from './tokens/token.interfaces.js';
export type { PersonalToken, PersonalTokenOptions, RotateOptions } from './tokens/personal/personal-token.js';
export { PersonalTokenService } from './tokens/personal/personal-token.service.js';
export { hasScope } from './tokens/token-scopes.js';
export { Token } from './tokens/token.entity.js';
export type { TokenPurpose } from './tokens/token-purpose.js';
export type { Credentials, UserStore } from './users/user-store.js';
export { hashPassword } from './users/password-hash.js';
export { typeOrmUsers, type TypeOrmUsers } from './accounts/typeorm-users.js';
export type { VerifyHash } from './users/password-verifier.js';
export type { TypeOrmUsersOptions } from './users/typeorm-users.js';
export type { UserProperties } from './users/user-entity.js';
export { User } from './users/user.entity.js';
export { UserService } from './accounts/user.service.js';
