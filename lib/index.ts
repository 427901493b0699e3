export { ExpiringTokenException, type ExpiringTokenErrorCode } from './expiring-token.exception.js';
export { ExpiringTokenModule } from './expiring-token.module.js';
export {
  type Duration,
  type ExpiringTokenModuleOptions,
  type ExpiringTokenOptions,
  ExpiringTokenOptionsError,
  type ExpiringTokenOptionsFactory,
  type ExpiringTokenRoute,
  type ExpiringTokenStructuralOptions,
  type ObtainPolicy,
} from './expiring-token.options.js';
export { CurrentToken, CurrentUser, OptionalToken, Public } from './http/decorators.js';
export { ExpiringTokenGuard } from './http/expiring-token.guard.js';
export type { ExpiringTokenAuthInfo, HttpRequest } from './http/http-request.js';
export type { Device } from './tokens/device.js';
export { ExpiringTokenService } from './tokens/expiring-token.service.js';
export type { Authentication, DeviceOptions, IssuedToken, IssueOptions } from './tokens/token.interfaces.js';
export { Token, type TokenPurpose } from './tokens/token.entity.js';
export { typeOrmUsers, type UserProperties } from './users/typeorm-users.js';
export { User } from './users/user.entity.js';
export { UserService } from './users/user.service.js';
export type { Credentials, UserStore } from './tokens/user-store.js';
