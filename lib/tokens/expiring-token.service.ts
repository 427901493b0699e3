import { Inject, Injectable } from '@nestjs/common';
import { availableWithin } from '../availability.js';
import { parseDuration } from '../duration.js';
import type { Row, Script } from '../database/database.js';
import { isUuid, uuidV7 } from '../database/uuid-v7.js';
import { CLOCK, type Clock, RESOLVED_OPTIONS, USER_STORE } from '../expiring-token.constants.js';
import { ExpiringTokenException } from '../expiring-token.exception.js';
import type { ResolvedOptions } from '../expiring-token.resolved-options.js';
import { checkExcept, cleanLabel, type Device, liveDevices } from './device.js';
import { expiryOf, isLive } from './token-lifetime.js';
import { deriveToken, digestToken, generateToken, matchesDigest, parseToken } from './token-secret.js';
import type { Token } from './token.entity.js';
import type { Authentication, DeviceOptions, IssuedToken, IssueOptions } from './token.interfaces.js';
import { type TokenRow, TokenStore } from './token.store.js';
import { checkUserId } from './user-id.js';
import { isAdmitted, type UserStore } from './user-store.js';

/**
 * Issues, checks and revokes tokens.
 *
 * Every method may throw {@link ExpiringTokenException} `unavailable`; each one that takes a user id throws `TypeError` for
 * one that cannot be.
 */
@Injectable()
export class ExpiringTokenService {
  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(USER_STORE) private readonly users: UserStore,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly store: TokenStore,
  ) {}

  /**
   * Issues a token to a new device of a user.
   *
   * @param userId - what `UserStore.getId` returns for the user; it is not looked up
   * @throws ExpiringTokenOptionsError for a lifespan that is none
   * @example
   * ```ts
   * const { plainText } = await tokens.issue(user.id, { name: 'nightly export', lifespan: '1h' });
   * ```
   */
  async issue(userId: string, options: IssueOptions = {}): Promise<IssuedToken> {
    checkUserId(userId);
    const lifespan = options.lifespan === undefined ? null : parseDuration('lifespan', options.lifespan, true);
    return this.serially(userId, () => this.inserting(userId, 'access', options, lifespan));
  }

  /**
   * The one token of a user that can be had again and again, as the option `obtain` says: reused, renewed or replaced.
   * Exact when many ask at once.
   *
   * @param userId - what `UserStore.getId` returns for the user
   */
  async obtain(userId: string, options: DeviceOptions = {}): Promise<IssuedToken> {
    checkUserId(userId);
    return this.serially(userId, () => this.obtaining(userId, options));
  }

  /**
   * The user and the row of a presented token.
   *
   * @throws ExpiringTokenException `token_invalid`, `token_expired` or `user_inactive`
   */
  async authenticate(plainText: string): Promise<Authentication> {
    const id = parseToken(this.options.prefix, plainText);
    if (id === null) throw new ExpiringTokenException('token_invalid');
    return this.within(async () => {
      const rows = await this.store.read(this.store.select({ id }));
      const [token] = this.store.tokens(rows);
      const [digest] = this.store.digests(rows);
      if (!token || !digest || !matchesDigest(plainText, digest)) {
        throw new ExpiringTokenException('token_invalid');
      }
      const user = await this.users.findById(token.userId);
      if (!isAdmitted(this.users, user)) throw new ExpiringTokenException('user_inactive');
      if (!this.isLive(token)) {
        throw new ExpiringTokenException('token_expired', { statusCode: this.options.expiredStatus });
      }
      return { user, token };
    });
  }

  /** The live devices of a user, newest first. */
  async list(userId: string): Promise<Device[]> {
    checkUserId(userId);
    return this.within(async () => this.devices(await this.store.read(this.store.select({ userId }))));
  }

  /**
   * Gives a device another name.
   *
   * @param id - its `deviceId`
   * @param name - stored without control characters, cut at 255 code points
   * @throws ExpiringTokenException `device_not_found`; `validation_failed` when nothing of the name is left
   */
  async rename(userId: string, id: string, name: string): Promise<Device> {
    const clean = typeof name === 'string' ? cleanLabel(name) : null;
    if (clean === null) {
      throw new ExpiringTokenException('validation_failed', {
        message: 'name must be a string with visible characters',
      });
    }
    checkUserId(userId);
    if (!isUuid(id)) throw new ExpiringTokenException('device_not_found');
    return this.serially(userId, () => this.renaming(userId, id, clean));
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
    return this.serially(userId, () => this.revoking(userId, id));
  }

  /**
   * Ends all devices of a user, or all but one.
   *
   * @param options - `except`: the `deviceId` that stays
   * @returns how many live devices were ended
   */
  async revokeAll(userId: string, options: { except?: string } = {}): Promise<number> {
    checkUserId(userId);
    const except = checkExcept(options.except);
    return this.serially(userId, () => this.revokingAll(userId, except));
  }

  /** When a token expires; null if never. */
  expiryOf(token: Token): Date | null {
    return expiryOf(token, this.options.lifespanMs);
  }

  private *obtaining(userId: string, options: DeviceOptions): Script<IssuedToken> {
    const { store } = this;
    const { rows } = yield store.select({ userId, purpose: 'obtained' });
    const digests = store.digests(rows);
    for (const [index, token] of store.tokens(rows).entries()) {
      const plainText =
        this.options.obtain !== 'replace' && this.isLive(token) && this.reveal(token.id, digests[index]!);
      if (plainText) {
        if (this.options.obtain === 'renew') {
          token.created = new Date(this.clock());
          yield store.update({ created: token.created }, { id: token.id });
        }
        return { plainText, token };
      }
      yield store.remove({ id: token.id });
    }
    return yield* this.inserting(userId, 'obtained', options);
  }

  private *renaming(userId: string, id: string, name: string): Script<Device> {
    const { rows } = yield this.store.select({ userId, deviceId: id });
    const [device] = this.devices(rows);
    if (!device) throw new ExpiringTokenException('device_not_found');
    yield this.store.update({ name }, { userId, deviceId: id });
    return { ...device, name };
  }

  private *revoking(userId: string, id: string): Script<boolean> {
    const { rows } = yield this.store.select({ userId, deviceId: id });
    const [device] = this.devices(rows);
    if (device) yield this.store.remove({ userId, deviceId: id });
    return device !== undefined;
  }

  private *revokingAll(userId: string, except: { deviceId?: string }): Script<number> {
    const { rows } = yield this.store.select({ userId });
    yield this.store.remove({ userId }, except);
    return this.devices(rows).filter(({ id }) => id !== except.deviceId).length;
  }

  private devices(rows: readonly Row[]): Device[] {
    return liveDevices(this.store.tokens(rows), this.options.lifespanMs, this.clock());
  }

  /** A token that a secret made, shown again; null where none of today's secrets made it. */
  private reveal(id: string, digest: Buffer): string | null {
    const candidates = this.options.secrets.map((secret) => deriveToken(this.options.prefix, id, secret));
    return candidates.find((candidate) => matchesDigest(candidate, digest)) ?? null;
  }

  private *inserting(
    userId: string,
    purpose: Token['purpose'],
    { name, userAgent }: DeviceOptions,
    lifespan: number | null = null,
  ): Script<IssuedToken> {
    const now = this.clock();
    const id = uuidV7(now);
    const [secret] = this.options.secrets;
    const plainText =
      purpose === 'obtained' && secret
        ? deriveToken(this.options.prefix, id, secret)
        : generateToken(this.options.prefix, id);
    const row: TokenRow = {
      id,
      userId,
      deviceId: uuidV7(now),
      purpose,
      digest: digestToken(plainText),
      name: cleanLabel(name),
      userAgent: cleanLabel(userAgent),
      created: new Date(now),
      lifespan,
      lastUsedAt: null,
    };
    yield this.store.insert(row);
    return { plainText, token: this.store.tokenOf(row) };
  }

  private isLive(token: Token): boolean {
    return isLive(token, this.options.lifespanMs, this.clock());
  }

  /** Runs a script in one transaction, alone among those of the user, that is not committed once nobody waits for it. */
  private serially<T>(userId: string, script: () => Script<T>): Promise<T> {
    return this.within((signal) => this.store.serially(userId, script, signal));
  }

  private within<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return availableWithin(this.options.timeoutMs, work);
  }
}
