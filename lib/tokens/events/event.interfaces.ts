import type { ExpiringTokenErrorCode } from '../../errors/expiring-token.exception.js';
import type { TokenPurpose } from '../token-purpose.js';

/** A device and its user. */
export interface DeviceEvent {
  /** What `UserStore.getId` returns for the user. */
  userId: string;
  /** The `id` of the device in lists and paths; for a personal token the id of that token. */
  deviceId: string;
}

/** A device of which the token is known. */
export interface ActorEvent extends DeviceEvent {
  /** The id of somebody else who uses the token in place of the user; absent for the user's own token. */
  actorId?: string;
}

/** A device that received an access token, or a personal token. */
export interface AccessEvent extends ActorEvent {
  /** What the access token is for: `access`, `obtained` for the token of `POST obtain-token`, or `personal`. */
  purpose: TokenPurpose;
  /** The name of the device, or of the personal token; null if it has none. A client chooses it, so escape it where it is shown. */
  name: string | null;
  /** The user agent that the device was created with; null if it sent none. A client chooses it too. */
  userAgent: string | null;
}

/** Payload of `expiring-token.issued`: a login, an obtain or `ExpiringTokenService` created a device with its tokens, or a user made a personal token. */
export interface IssuedEvent extends AccessEvent {
  /**
   * How the device was created: `login` by `POST login` or `ExpiringTokenService.logIn`, `obtain` by `POST obtain-token` or
   * `ExpiringTokenService.obtain`, `issue` by `ExpiringTokenService.issue`, `personal` by `POST tokens` or
   * `PersonalTokenService`, which also rotate a personal token.
   */
  via: 'login' | 'obtain' | 'issue' | 'personal';
}

/** Payload of `expiring-token.refreshed`: a device got a new pair. Not emitted if it got the same pair again, within the grace. */
export interface RefreshedEvent extends AccessEvent {
  /** How it got the pair: `refresh` by `POST refresh` or `ExpiringTokenService.refresh`. */
  via: 'refresh';
}

/**
 * Payload of `expiring-token.replayed`: a refresh token that was exchanged already was presented again within its grace. A
 * client that lost a response does that, and so does a thief of the token.
 */
export interface ReplayedEvent extends DeviceEvent {
  /**
   * False if the client got the same pair again. True if the request was rejected with `refresh_invalid`, because there were
   * too many, or because it came from another user agent than the first one: the token may be stolen. The device is not
   * revoked.
   */
  refused: boolean;
}

/** Payload of `expiring-token.reused`: a refresh token was used again after its grace, and its device was revoked. */
export interface ReusedEvent extends DeviceEvent {}

/**
 * Why a device or a personal token was revoked:
 *
 * - `revoked`: a logout, the routes `devices` and `tokens`, a service or `setActive` revoked it
 * - `replaced`: another token was obtained in its place
 * - `limit`: it was the least recently used one when a login exceeded the option `limit`
 * - `reused`: its refresh token was used again after its grace
 * - `password`: `changePassword` of `UserService` or of a class of `typeOrmUsers`
 * - `deleted`: `delete` of either
 */
export type RevocationReason = 'revoked' | 'replaced' | 'limit' | 'reused' | 'password' | 'deleted';

/** Payload of `expiring-token.revoked`: a live device was revoked. If several are revoked, each has a separate event. */
export interface RevokedEvent extends DeviceEvent {
  /** Why the device was revoked. */
  reason: RevocationReason;
}

/** Payload of `expiring-token.expired`: an expired token was presented and rejected. Emitted each time. */
export interface ExpiredEvent extends ActorEvent {}

/** Payload of `expiring-token.pruned`: a sweep, in the background or by `ExpiringTokenService.prune`, deleted tokens. */
export interface PrunedEvent {
  /** How many tokens, of all purposes. */
  count: number;
}

/** Payload of `expiring-token.password-changed`: `changePassword` set another password, or took the password away. */
export interface PasswordChangedEvent {
  /** What `UserStore.getId` returns for the user. */
  userId: string;
}

/** Payload of `expiring-token.login-failed`. It does not contain the name that was typed, which sometimes is a password. */
export interface LoginFailedEvent {
  /** `credentials_invalid` or `throttled`; null if the user store threw its own exception. */
  code: ExpiringTokenErrorCode | null;
  /**
   * The user whose name was sent. Null if `UserStore.findByUsername` does not find one, fails or does not exist, and for some
   * events while very many logins fail.
   */
  userId: string | null;
  /** The client's address without its port, as the framework determines it; null if it does not know one. */
  address: string | null;
}

/**
 * The events that are emitted through `@nestjs/event-emitter`, by name. Payloads hold ids and labels, and never a secret.
 *
 * @example
 * ```ts
 * @Injectable()
 * export class Alarm {
 *   @OnEvent('expiring-token.reused')
 *   warn({ userId }: ExpiringTokenEvents['expiring-token.reused']) {
 *     console.warn(`Somebody may have stolen a token of ${userId}`);
 *   }
 * }
 * ```
 */
export interface ExpiringTokenEvents {
  /** A device was created. */
  'expiring-token.issued': IssuedEvent;
  /** A device got a new pair. */
  'expiring-token.refreshed': RefreshedEvent;
  /** A refresh token was used again within its grace. */
  'expiring-token.replayed': ReplayedEvent;
  /** A refresh token was used again after its grace: it may be stolen. */
  'expiring-token.reused': ReusedEvent;
  /** A live device was revoked. */
  'expiring-token.revoked': RevokedEvent;
  /** An expired token was presented. */
  'expiring-token.expired': ExpiredEvent;
  /** Expired tokens were deleted. */
  'expiring-token.pruned': PrunedEvent;
  /** A password was changed. */
  'expiring-token.password-changed': PasswordChangedEvent;
  /** A login was rejected. */
  'expiring-token.login-failed': LoginFailedEvent;
}
