import { Inject, Injectable } from '@nestjs/common';
import { isUuid } from '../database/uuid-v7.js';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { HideFromInspect } from '../errors/hide-from-inspect.decorator.js';
import { orUnavailable } from '../errors/service-unavailable.js';
import { RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import { parseDuration } from '../options/duration.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { parseScopes } from '../options/scopes.js';
import { checkUserId } from '../users/user-id.js';
import { checkExcept, type Device, sanitizeLabel, withoutUnstorable } from './device.js';
import type { Emit } from './events/token.events.js';
import { importTokens } from './secret/imported-token.js';
import { TokenValidity } from './token-lifetime.js';
import { TokenAuthenticator } from './token.authenticator.js';
import type { Token } from './token.entity.js';
import type {
  Authentication,
  CacheStatus,
  ChangeOptions,
  DeviceOptions,
  ImportedToken,
  IssuedPair,
  IssuedToken,
  IssueOptions,
  LoggedIn,
  LogInOptions,
  PruneJob,
  RevokeAllOptions,
} from './token.interfaces.js';
import { TokenIssuer } from './transactions/token.issuer.js';
import { TokenPruner } from './token.pruner.js';
import { TokenRefresher } from './token.refresher.js';
import { TokenStore } from './token.store.js';
import { TokenTransactions } from './transactions/token.transactions.js';
import { UserTransactions } from './transactions/user.transactions.js';

/**
 * Issues, authenticates and revokes tokens.
 *
 * Every method may throw {@link ExpiringTokenException} `unavailable`. Every method that takes a user id throws `TypeError` if
 * the value cannot be one.
 */
@HideFromInspect()
@Injectable()
export class ExpiringTokenService {
  /** @internal Nest calls it. */
  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    private readonly authenticator: TokenAuthenticator,
    private readonly refresher: TokenRefresher,
    private readonly issuer: TokenIssuer,
    private readonly scripts: TokenTransactions,
    private readonly transactions: UserTransactions,
    private readonly store: TokenStore,
    private readonly pruner: TokenPruner,
    private readonly validity: TokenValidity,
  ) {}

  /**
   * Issues a token to a new device of a user.
   *
   * @param userId - what `UserStore.getId` returns for the user; the user is not looked up
   * @throws ExpiringTokenOptionsError for an invalid lifespan, or for a scope that the option `scopes` does not contain
   * @throws ExpiringTokenException `limit_reached`
   * @example
   * ```ts
   * const { plainText } = await tokens.issue(user.id, { name: 'nightly export', lifespan: '1h', scopes: ['notes:read'] });
   * ```
   */
  async issue(userId: string, options: IssueOptions = {}): Promise<IssuedToken> {
    checkUserId(userId);
    const lifespan =
      options.lifespan === undefined ? null : parseDuration('lifespan', options.lifespan, { never: true });
    const scopes = parseScopes(options.scopes, this.options.scopes);
    const actorId = options.actor ?? null;
    if (actorId !== null) checkUserId(actorId);
    const token = { purpose: 'access', lifespan, scopes, actorId } as const;
    const script = (labels: DeviceOptions) => (emit: Emit) => this.scripts.issue(userId, labels, token, emit);
    return this.transactions.run(userId, script(options), { fallbacks: withoutUnstorable(options).map(script) });
  }

  /**
   * What `POST login` does after the password was verified: issues a token to a new device, and with the option `refresh` a
   * refresh token.
   *
   * @param userId - what `UserStore.getId` returns for the user
   * @param options - what is known of the device; `credentials`, if the caller verified them
   * @throws ExpiringTokenException `user_inactive` if the user does not exist or is not active; `credentials_invalid` if the
   * credentials are no longer valid; `limit_reached`
   */
  async logIn(userId: string, { credentials, ...device }: LogInOptions = {}): Promise<LoggedIn> {
    return this.issuer.logIn(await this.issuer.findActiveUser(userId), credentials ?? null, device);
  }

  /**
   * What `POST obtain-token` does after the password was verified: returns the one token of a user that can be obtained
   * repeatedly. It is reused, renewed or replaced, as the option `obtain` says. There is one such token even if many requests
   * arrive simultaneously.
   *
   * @param userId - what `UserStore.getId` returns for the user
   * @param options - what is known of the device; `credentials`, if the caller verified them
   * @throws ExpiringTokenException `user_inactive` if the user does not exist or is not active; `credentials_invalid` if the
   * credentials are no longer valid; `limit_reached`
   */
  async obtain(userId: string, { credentials, ...device }: LogInOptions = {}): Promise<IssuedToken> {
    return this.issuer.obtain(await this.issuer.findActiveUser(userId), credentials ?? null, device);
  }

  /**
   * Returns the user and the row of a presented token.
   *
   * @throws ExpiringTokenException `token_invalid`, `token_expired` or `user_inactive`
   */
  async authenticate(plainText: string): Promise<Authentication> {
    const { user, token } = await this.authenticator.authenticate(plainText);
    return { user, token };
  }

  /**
   * Returns the row of a token as it is in the database now, without noting a use. For what was accepted earlier and is still
   * open, such as a socket.
   *
   * @internal
   */
  introspect(plainText: string): Promise<Token> {
    return this.authenticator.introspect(plainText);
  }

  /**
   * Exchanges a refresh token for a new pair (RFC 9700 §4.14.2). The device keeps its newest access tokens, at most 5 with the
   * new one.
   *
   * Within the option `refresh.grace`, the same refresh token with the same user agent gets the same pair again, at most 30
   * times; after that, or with another user agent, it is rejected and the device stays as it is. Each time the event
   * `expiring-token.replayed` is emitted. A refresh token that is used after the grace, or after its successor was used, is
   * treated as stolen: its device is revoked.
   *
   * @param request - `userAgent` of the request that presents the token
   * @throws ExpiringTokenException `refresh_invalid`, `user_inactive`
   * @throws Error without the option `refresh`
   */
  refresh(refreshToken: string, request: Pick<DeviceOptions, 'userAgent'> = {}): Promise<IssuedPair> {
    return this.refresher.refresh(refreshToken, request);
  }

  /** Returns the live devices of a user, newest first; if there are more than 10,000, the newest 10,000. */
  async list(userId: string): Promise<Device[]> {
    checkUserId(userId);
    return orUnavailable(() => this.store.devices(userId));
  }

  /**
   * Renames a device.
   *
   * @param id - its `deviceId`
   * @param name - stored without control characters, cut at 255 code points
   * @param options - `by`: the token that requests the change
   * @throws ExpiringTokenException `device_not_found`; `validation_failed` if no visible character is left of the name,
   * or the database cannot store one; `throttled` if more than ten changes wait that this token requested
   */
  async rename(userId: string, id: string, name: string, { by }: ChangeOptions = {}): Promise<Device> {
    const clean = typeof name === 'string' ? sanitizeLabel(name) : null;
    if (clean === null) {
      throw new ExpiringTokenException('validation_failed', {
        message: 'name must be a string with visible characters',
      });
    }
    checkUserId(userId);
    if (!isUuid(id)) throw new ExpiringTokenException('device_not_found');
    const rename = () => this.store.rename(userId, id, clean);
    const device = await this.transactions.runWithoutLock(userId, rename, { by: by?.id });
    if (!device) throw new ExpiringTokenException('device_not_found');
    return device;
  }

  /**
   * Revokes a device: its tokens are rejected from now on.
   *
   * @param id - its `deviceId`
   * @param options - `by`: the token that requests the revocation
   * @returns whether the user had a live device with this id
   * @throws ExpiringTokenException `throttled` if more than ten changes wait that this token requested
   */
  async revoke(userId: string, id: string, { by }: ChangeOptions = {}): Promise<boolean> {
    checkUserId(userId);
    if (!isUuid(id) || !(await this.store.hasTokens(userId, { deviceId: id }))) return false;
    return this.transactions.run(userId, (emit) => this.scripts.revoke(userId, id, 'revoked', emit), {
      isRevocation: true,
      by: by?.id,
    });
  }

  /**
   * Revokes all devices of a user, or all but one. Personal tokens stay, unless `personal` is true. If the option `users` names another store than the built-in one, call this
   * after you change a password or delete a user.
   *
   * @param options - `except`: the `deviceId` that is not revoked; `personal`: whether the personal tokens of the user end too;
   * `by`: the token that requests the revocation
   * @returns how many live devices were revoked, not counting personal tokens
   * @throws ExpiringTokenException `throttled` if more than ten changes wait that this token requested
   */
  async revokeAll(userId: string, options: ChangeOptions & RevokeAllOptions = {}): Promise<number> {
    checkUserId(userId);
    const ended = { ...checkExcept(options.except), personal: options.personal ?? false };
    if (!ended.personal && !(await this.store.hasTokens(userId, {}, ended))) return 0;
    let revoked = 0;
    const revokeAll = (emit: Emit) => this.scripts.revokeAll(userId, ended, 'revoked', emit);
    const personal = await this.transactions.run(userId, revokeAll, {
      isRevocation: true,
      by: options.by?.id,
      onRevoked: () => revoked++,
    });
    return revoked - personal;
  }

  /**
   * Deletes all tokens that expired more than the option `prune.retention` ago, in batches with pauses. The module calls it
   * every `prune.every`; with `prune: false`, call it from your own scheduled job.
   *
   * @param job - `retention` and `batch` replace those of the options; `onProgress` is called after each batch; `signal` ends
   * the sweep early
   * @returns how many were deleted; if the signal was aborted, how many until then
   * @throws ExpiringTokenOptionsError for an invalid `retention` or `batch`
   * @example
   * ```ts
   * const deleted = await tokens.prune({ retention: '1d', signal: AbortSignal.timeout(60_000) });
   * ```
   */
  prune(job: PruneJob = {}): Promise<number> {
    return this.pruner.prune(job);
  }

  /**
   * Imports live tokens from another package, each as a separate device. They are accepted if the option `imported` names
   * their shape, until they expire. Tokens that exist already are skipped, so an interrupted import can be run again. Run the
   * last import before the first user arrives: it would restore tokens that were revoked here and are still in the old
   * database.
   *
   * @returns how many were new
   * @throws TypeError naming the position and the field of the first token that cannot be imported, and never its value. The
   * tokens before it were imported
   * @example
   * ```ts
   * const rows = await legacy.query('SELECT key, user_id, created FROM authtoken_token');
   * await tokens.import(rows.map(({ key, user_id, created }) => ({ key, userId: String(user_id), created })));
   * ```
   */
  import(tokens: Iterable<ImportedToken> | AsyncIterable<ImportedToken>): Promise<number> {
    return importTokens(tokens, this.options.scopes, (row) => orUnavailable(() => this.store.insertNew(row)));
  }

  /**
   * Returns what the option `cache` does in this process, for a status page or for metrics. It needs no query.
   *
   * @example
   * ```ts
   * const { hits, lookUps } = tokens.cacheStatus();
   * hitRatio.set(hits / (hits + lookUps));
   * ```
   */
  cacheStatus(): CacheStatus {
    return this.authenticator.cacheStatus;
  }

  /** Returns when a token expires unless it is used before; null if never. */
  expiryOf(token: Token): Date | null {
    return this.validity.expiryOf(token);
  }
}
