import type { ExpiringTokenErrorCode } from '../../errors/expiring-token.exception.js';

/** A device, and whose it is. */
export interface DeviceEvent {
  /** What `UserStore.getId` returns for the user. */
  userId: string;
  /** The `id` of the device in lists and paths. */
  deviceId: string;
}

/** Payload of `expiring-token.issued`: a login, an obtain or `ExpiringTokenService` has made a device with its tokens. */
export interface IssuedEvent extends DeviceEvent {}

/** Payload of `expiring-token.refreshed`: a device has got a new pair. The same pair once more, within the grace, is none. */
export interface RefreshedEvent extends DeviceEvent {}

/** Payload of `expiring-token.reused`: a refresh token was used again after its time, and its device was ended. */
export interface ReusedEvent extends DeviceEvent {}

/**
 * Why a device was ended:
 *
 * - `revoked`: somebody asked for it, by a logout, the route `devices` or `ExpiringTokenService`
 * - `replaced`: another token was obtained in its place
 * - `limit`: it was unused longest when a login made one device too many
 * - `reused`: its refresh token was used again after its time
 * - `password`: `UserService.changePassword`
 * - `deleted`: `UserService.delete`
 */
export type RevocationReason = 'revoked' | 'replaced' | 'limit' | 'reused' | 'password' | 'deleted';

/** Payload of `expiring-token.revoked`: a live device was ended. Each one of many has an event of its own. */
export interface RevokedEvent extends DeviceEvent {
  /** Why. */
  reason: RevocationReason;
}

/** Payload of `expiring-token.expired`: an expired token was presented, and refused. Once for each time that it is. */
export interface ExpiredEvent extends DeviceEvent {}

/** Payload of `expiring-token.pruned`: a sweep, of the background or of `ExpiringTokenService.prune`, has deleted tokens. */
export interface PrunedEvent {
  /** How many tokens, of all kinds. */
  count: number;
}

/** Payload of `expiring-token.login-failed`. The name that was typed is not in it: now and then it is a password. */
export interface LoginFailedEvent {
  /** `credentials_invalid` or `throttled`; null where the user store refused with an exception of its own. */
  code: ExpiringTokenErrorCode | null;
  /** The client's address, as the framework knows it; null if it does not. */
  address: string | null;
}

/**
 * What is told through `@nestjs/event-emitter`, by the names of the events. All hold ids, and never a secret.
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
  /** A device was made. */
  'expiring-token.issued': IssuedEvent;
  /** A device has got a new pair. */
  'expiring-token.refreshed': RefreshedEvent;
  /** A refresh token was used again after its time: somebody may have stolen it. */
  'expiring-token.reused': ReusedEvent;
  /** A live device was ended. */
  'expiring-token.revoked': RevokedEvent;
  /** An expired token was presented. */
  'expiring-token.expired': ExpiredEvent;
  /** Expired tokens were deleted. */
  'expiring-token.pruned': PrunedEvent;
  /** A login was refused. */
  'expiring-token.login-failed': LoginFailedEvent;
}
