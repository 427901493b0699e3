import { Inject, Injectable } from '@nestjs/common';
import { withTimeout } from '../async/with-timeout.js';
import { orUnavailable, rethrowAsUnavailable } from '../errors/service-unavailable.js';
import type { CacheStatus } from './token.interfaces.js';
import { TokenCache } from './token.cache.js';
import type { TransactionScript } from '../database/database.js';
import { classifyDriverError } from '../errors/driver-errors.js';
import { isUuid } from '../database/uuid-v7.js';
import { parseDuration } from '../options/duration.js';
import { CLOCK, type Clock, RESOLVED_OPTIONS, USER_STORE } from '../expiring-token.constants.js';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { HideFromInspect } from '../errors/hide-from-inspect.decorator.js';
import { checkExcept, sanitizeLabel, type Device, liveDevices } from './device.js';
import { rowOfImported } from './secret/imported-token.js';
import { LastUse } from './last-use.js';
import { expiryOf, isLive } from './token-lifetime.js';
import { type Identity, identifyToken, matchesDigest } from './secret/token-secret.js';
import type { Token, TokenPurpose } from './token.entity.js';
import { type Emit, TokenEvents } from './events/token.events.js';
import type {
  Authentication,
  DeviceOptions,
  ImportedToken,
  IssuedPair,
  IssuedToken,
  IssueOptions,
  LoggedIn,
  PruneJob,
} from './token.interfaces.js';
import { type TokenWithUser, TokenLookup } from './token.lookup.js';
import { TokenPruner } from './token.pruner.js';
import { TokenTransactions } from './token.transactions.js';
import { TokenStore } from './token.store.js';
import { checkUserId } from '../users/user-id.js';
import { isActiveUser, type UserStore } from '../users/user-store.js';

/** The tokens that a device is refreshed by, or was. */
const REFRESH: readonly TokenPurpose[] = ['refresh', 'rotated'];

/**
 * Issues, checks and revokes tokens.
 *
 * Every method may throw {@link ExpiringTokenException} `unavailable`; each one that takes a user id throws `TypeError` for
 * one that cannot be.
 */
@HideFromInspect()
@Injectable()
export class ExpiringTokenService {
  /** @internal Nest makes it. */
  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(USER_STORE) private readonly users: UserStore,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly store: TokenStore,
    private readonly scripts: TokenTransactions,
    private readonly pruner: TokenPruner,
    private readonly events: TokenEvents,
    private readonly lastUse: LastUse,
    private readonly cache: TokenCache,
    private readonly lookup: TokenLookup,
  ) {}

  /**
   * Issues a token to a new device of a user.
   *
   * @param userId - what `UserStore.getId` returns for the user; it is not looked up
   * @throws ExpiringTokenOptionsError for a lifespan that is none
   * @throws ExpiringTokenException `limit_reached`
   * @example
   * ```ts
   * const { plainText } = await tokens.issue(user.id, { name: 'nightly export', lifespan: '1h' });
   * ```
   */
  async issue(userId: string, options: IssueOptions = {}): Promise<IssuedToken> {
    checkUserId(userId);
    const lifespan =
      options.lifespan === undefined ? null : parseDuration('lifespan', options.lifespan, { never: true });
    return this.withUserLock(userId, (tell) => this.scripts.issue(userId, options, lifespan, tell));
  }

  /**
   * What `POST login` does once the password is right: a token for a new device, and with the option `refresh` a refresh
   * token.
   *
   * @param userId - what `UserStore.getId` returns for the user
   * @throws ExpiringTokenException `limit_reached`
   */
  async logIn(userId: string, options: DeviceOptions = {}): Promise<LoggedIn> {
    checkUserId(userId);
    return this.withUserLock(userId, (tell) => this.scripts.logIn(userId, options, tell));
  }

  /**
   * The one token of a user that can be had again and again, as the option `obtain` says: reused, renewed or replaced.
   * Exact when many ask at once.
   *
   * @param userId - what `UserStore.getId` returns for the user
   * @throws ExpiringTokenException `limit_reached`
   */
  async obtain(userId: string, options: DeviceOptions = {}): Promise<IssuedToken> {
    checkUserId(userId);
    return this.withUserLock(userId, (tell) => this.scripts.obtain(userId, options, tell));
  }

  /**
   * The user and the row of a presented token.
   *
   * @throws ExpiringTokenException `token_invalid`, `token_expired` or `user_inactive`
   */
  async authenticate(plainText: string): Promise<Authentication> {
    const identity = this.identify(plainText);
    if (!identity) throw new ExpiringTokenException('token_invalid');
    try {
      const { user, token } = this.assertUsable(await this.cache.find(identity, (seen) => this.isAccepted(seen)));
      const lastUsedAt = this.lastUse.note(token);
      if (lastUsedAt !== token.lastUsedAt) this.cache.touch(identity, lastUsedAt);
      return { user, token };
    } catch (error) {
      return rethrowAsUnavailable(error);
    }
  }

  /**
   * The row of a token, without using it: the database is asked whatever the cache remembers, and no use is noted. For what
   * was let in before and goes on, such as a socket.
   *
   * @throws ExpiringTokenException `token_invalid`, `token_expired` or `user_inactive`; what the database fails with as it is
   */
  async introspect(plainText: string): Promise<Token> {
    const identity = this.identify(plainText);
    return this.assertUsable(identity && (await this.lookup.find(identity))).token;
  }

  /**
   * Exchanges a refresh token for a new pair (RFC 9700 §4.14.2). The same one gets the same pair again within the option
   * `refresh.grace`; used after that, or after its successor was, it is taken for stolen, and its device is ended.
   *
   * @throws ExpiringTokenException `refresh_invalid`, `user_inactive`
   * @throws Error without the option `refresh`
   */
  async refresh(refreshToken: string): Promise<IssuedPair> {
    if (!this.options.refresh) throw new Error('ExpiringTokenService.refresh needs the option refresh');
    const identity = this.identify(refreshToken);
    if (!identity) throw new ExpiringTokenException('refresh_invalid');
    return this.within(async (signal) => {
      const [found] = await this.store.read(this.store.select({ id: identity.id }), signal);
      const isIt = found && REFRESH.includes(found.token.purpose) && matchesDigest(identity.digested, found.digest);
      if (!isIt) throw new ExpiringTokenException('refresh_invalid');
      const { id, userId, deviceId } = found.token;
      const admitted = isActiveUser(this.users, await this.users.findById(userId));
      const pair = await this.transact(
        userId,
        (tell) => this.scripts.refresh(id, refreshToken, admitted, tell),
        signal,
      );
      if (!pair) {
        this.events.reused({ userId, deviceId });
        throw new ExpiringTokenException('refresh_invalid');
      }
      this.pruner.scheduleSealedCleanup();
      return pair;
    });
  }

  /** The live devices of a user, newest first. */
  async list(userId: string): Promise<Device[]> {
    checkUserId(userId);
    return this.within(async (signal) => {
      const now = this.clock();
      const found = await this.store.read(this.store.selectLive(userId, now), signal);
      return liveDevices(
        found.map(({ token }) => token),
        this.options.lifetimes,
        now,
      );
    });
  }

  /**
   * Gives a device another name.
   *
   * @param id - its `deviceId`
   * @param name - stored without control characters, cut at 255 code points
   * @throws ExpiringTokenException `device_not_found`; `validation_failed` when nothing of the name is left
   */
  async rename(userId: string, id: string, name: string): Promise<Device> {
    const clean = typeof name === 'string' ? sanitizeLabel(name) : null;
    if (clean === null) {
      throw new ExpiringTokenException('validation_failed', {
        message: 'name must be a string with visible characters',
      });
    }
    checkUserId(userId);
    if (!isUuid(id)) throw new ExpiringTokenException('device_not_found');
    return this.withUserLock(userId, () => this.scripts.rename(userId, id, clean));
  }

  /**
   * Ends a device: its tokens are refused from now on.
   *
   * @param id - its `deviceId`
   * @returns whether the user had such a live device
   */
  async revoke(userId: string, id: string): Promise<boolean> {
    checkUserId(userId);
    if (!isUuid(id)) return false;
    return this.withUserLock(userId, (tell) => this.scripts.revoke(userId, id, 'revoked', tell));
  }

  /**
   * Ends all devices of a user, or all but one. For users of another store than the built-in one, this is what to call
   * after a password was changed or a user deleted.
   *
   * @param options - `except`: the `deviceId` that stays
   * @returns how many live devices were ended
   */
  async revokeAll(userId: string, options: { except?: string } = {}): Promise<number> {
    checkUserId(userId);
    const except = checkExcept(options.except);
    return this.withUserLock(userId, (tell) => this.scripts.revokeAll(userId, except, 'revoked', tell));
  }

  /**
   * Deletes all tokens that expired more than the option `prune.retention` ago, in batches and with pauses. The module does
   * it by itself every `prune.every`; with `prune: false` call it from a job of your own.
   *
   * @param job - `retention` and `batch` in place of the options'; `onProgress` is told how far it is; `signal` ends it early
   * @returns how many were deleted, until the signal was aborted if it was
   * @throws ExpiringTokenOptionsError for a `retention` or `batch` that is none
   * @example
   * ```ts
   * const deleted = await tokens.prune({ retention: '1d', signal: AbortSignal.timeout(60_000) });
   * ```
   */
  prune(job: PruneJob = {}): Promise<number> {
    return this.pruner.prune(job);
  }

  /**
   * Takes over live tokens from another package, each as a device of its own. They work where the option `imported` admits
   * their shape, until they expire. Those that are there already are skipped: it can be run again after an interruption. Run
   * it for the last time before users arrive: one that was revoked here would come back out of the old database.
   *
   * @returns how many were new
   * @throws TypeError naming the place and the field of the first one that cannot be taken over, and never its value; those
   * before it were
   * @example
   * ```ts
   * const rows = await legacy.query('SELECT key, user_id, created FROM authtoken_token');
   * await tokens.import(rows.map(({ key, user_id, created }) => ({ key, userId: String(user_id), created })));
   * ```
   */
  async import(tokens: Iterable<ImportedToken> | AsyncIterable<ImportedToken>): Promise<number> {
    let index = 0;
    let added = 0;
    for await (const token of tokens) {
      try {
        added += await this.importOne(token);
      } catch (error) {
        if (error instanceof TypeError) error.message = `tokens[${index}]: ${error.message}`;
        throw error;
      }
      index++;
    }
    return added;
  }

  /**
   * What the option `cache` does in this process, for a page or a collector of metrics. It asks nobody.
   *
   * @example
   * ```ts
   * const { hits, lookUps } = tokens.cacheStatus();
   * hitRatio.set(hits / (hits + lookUps));
   * ```
   */
  cacheStatus(): CacheStatus {
    return this.cache.status;
  }

  /** When a token expires unless it is used before; null if never. */
  expiryOf(token: Token): Date | null {
    return expiryOf(token, this.options.lifetimes);
  }

  private importOne(token: ImportedToken): Promise<number> {
    const insert = this.store.insert(rowOfImported(token));
    return this.within((signal) =>
      this.store.write(insert, signal).catch((error: unknown) => {
        if (classifyDriverError(error) === 'duplicate') return 0;
        throw error;
      }),
    );
  }

  /** @throws ExpiringTokenException for what is not let in */
  private assertUsable(found: TokenWithUser | null): Authentication {
    if (!found) throw new ExpiringTokenException('token_invalid');
    const { token, user } = found;
    if (!isActiveUser(this.users, user)) throw new ExpiringTokenException('user_inactive');
    if (!this.isLive(token)) {
      this.events.emit?.('expiring-token.expired', { userId: token.userId, deviceId: token.deviceId });
      throw new ExpiringTokenException('token_expired', { statusCode: this.options.expiredStatus });
    }
    return { user, token };
  }

  private isAccepted({ token, user }: TokenWithUser): boolean {
    return isActiveUser(this.users, user) && this.isLive(token);
  }

  private isLive(token: Token): boolean {
    return isLive(token, this.options.lifetimes, this.clock());
  }

  /** Where to look for a presented token; null, before anybody is asked, for what cannot be one. */
  private identify(presented: string): Identity | null {
    return identifyToken(this.options.prefix, presented, this.options.imported);
  }

  /** Runs a script in one transaction, alone among those of the user, that is not committed once nobody waits for it. */
  private withUserLock<T>(userId: string, script: (tell: Emit | undefined) => TransactionScript<T>): Promise<T> {
    return this.within((signal) => this.transact(userId, script, signal));
  }

  private transact<T>(
    userId: string,
    script: (tell: Emit | undefined) => TransactionScript<T>,
    signal: AbortSignal,
  ): Promise<T> {
    return this.events.afterCommit((made) => this.store.withUserLock(userId, made, signal), script);
  }

  private within<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return orUnavailable(() => withTimeout(this.options.timeoutMs, work));
  }
}
