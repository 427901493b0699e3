import { Inject, Injectable } from '@nestjs/common';
import { availableWithin } from '../database/available.js';
import type { Result, Script } from '../database/database.js';
import { retrying } from '../database/retry.js';
import { CLOCK, type Clock, RESOLVED_OPTIONS, USER_STORE } from '../expiring-token.constants.js';
import { ExpiringTokenException } from '../expiring-token.exception.js';
import { parseDuration, type ResolvedOptions } from '../expiring-token.resolved-options.js';
import { checkUserId } from '../users/user-id.js';
import type { UserStore } from '../users/user-store.js';
import { cleanLabel, type Device, liveDevices } from './device.js';
import { expiryOf, isLive } from './token-lifetime.js';
import { deriveToken, digestToken, generateToken, matchesDigest, parseToken } from './token-secret.js';
import type { Token } from './token.entity.js';
import type { Authentication, DeviceOptions, IssuedToken, IssueOptions } from './token.interfaces.js';
import { type TokenRow, TokenStore } from './token.store.js';
import { isUuid, uuidV7 } from '../database/uuid-v7.js';

/** Issues, checks and revokes tokens. Every method may throw {@link ExpiringTokenException} `unavailable`. */
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
    return this.within((signal) =>
      retrying(async () => {
        const { plainText, row } = this.newToken(userId, 'access', options, lifespan);
        await this.store.run(this.store.insert(row), signal);
        return { plainText, token: this.store.tokenOf(row) };
      }),
    );
  }

  /**
   * The one token of a user that can be had again and again, as the option `obtain` says: reused, renewed or replaced.
   * Exact when many ask at once.
   *
   * @param userId - what `UserStore.getId` returns for the user
   */
  async obtain(userId: string, options: DeviceOptions = {}): Promise<IssuedToken> {
    checkUserId(userId);
    return this.within((signal) => this.store.serially(userId, () => this.obtaining(userId, options), signal));
  }

  /**
   * The user and the row of a presented token.
   *
   * @throws ExpiringTokenException `token_invalid`, `token_expired` or `user_inactive`
   */
  async authenticate(plainText: string): Promise<Authentication> {
    const id = parseToken(this.options.prefix, plainText);
    if (id === null) throw new ExpiringTokenException('token_invalid');
    return this.within(async (signal) => {
      const found = await this.store.run(this.store.select({ id }), signal);
      const [token] = this.store.tokens(found);
      const [digest] = this.store.digests(found);
      if (!token || !digest || !matchesDigest(plainText, digest)) {
        throw new ExpiringTokenException('token_invalid');
      }
      const user = await this.users.findById(token.userId);
      if (user === null || user === undefined || !this.isActive(user))
        throw new ExpiringTokenException('user_inactive');
      if (!this.isLive(token)) {
        throw new ExpiringTokenException('token_expired', { statusCode: this.options.expiredStatus });
      }
      return { user, token };
    });
  }

  /** The live devices of a user, newest first. */
  async list(userId: string): Promise<Device[]> {
    checkUserId(userId);
    return this.within(async (signal) => this.devices(await this.store.run(this.store.select({ userId }), signal)));
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
    return this.within((signal) => this.store.serially(userId, () => this.renaming(userId, id, clean), signal));
  }

  /**
   * Ends a device: its tokens are refused from now on.
   *
   * @param id - its `deviceId`
   * @returns whether the user had such a device
   */
  async revoke(userId: string, id: string): Promise<boolean> {
    checkUserId(userId);
    if (!isUuid(id)) return false;
    const removal = this.store.remove({ userId, deviceId: id });
    return this.within(async (signal) => (await this.store.run(removal, signal)).affected > 0);
  }

  /**
   * Ends all devices of a user, or all but one.
   *
   * @param options - `except`: the `deviceId` that stays
   * @returns how many live devices were ended
   */
  async revokeAll(userId: string, options: { except?: string } = {}): Promise<number> {
    checkUserId(userId);
    const { except } = options;
    if (except !== undefined && !isUuid(except)) {
      throw new ExpiringTokenException('validation_failed', { message: 'except must be a deviceId' });
    }
    return this.within((signal) => this.store.serially(userId, () => this.revokingAll(userId, except), signal));
  }

  /** When a token expires; null if never. */
  expiryOf(token: Token): Date | null {
    return expiryOf(token.created.getTime(), token.lifespan ?? this.options.lifespanMs);
  }

  private *obtaining(userId: string, options: DeviceOptions): Script<IssuedToken> {
    const { store } = this;
    const found = yield store.select({ userId, purpose: 'obtained' });
    const digests = store.digests(found);
    for (const [index, token] of store.tokens(found).entries()) {
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
    const { plainText, row } = this.newToken(userId, 'obtained', options);
    yield store.insert(row);
    return { plainText, token: store.tokenOf(row) };
  }

  private *renaming(userId: string, id: string, name: string): Script<Device> {
    const [device] = this.devices(yield this.store.select({ userId, deviceId: id }));
    if (!device) throw new ExpiringTokenException('device_not_found');
    yield this.store.update({ name }, { userId, deviceId: id });
    return { ...device, name };
  }

  private *revokingAll(userId: string, except: string | undefined): Script<number> {
    const devices = this.devices(yield this.store.select({ userId }));
    yield this.store.remove({ userId }, except === undefined ? {} : { deviceId: except });
    return devices.filter(({ id }) => id !== except).length;
  }

  private devices(found: Result): Device[] {
    return liveDevices(this.store.tokens(found), this.options.lifespanMs, this.clock());
  }

  /** A token that a secret made, shown again; null where none of today's secrets made it. */
  private reveal(id: string, digest: Buffer): string | null {
    const candidates = this.options.secrets.map((secret) => deriveToken(this.options.prefix, id, secret));
    return candidates.find((candidate) => matchesDigest(candidate, digest)) ?? null;
  }

  private newToken(
    userId: string,
    purpose: Token['purpose'],
    { name, userAgent }: DeviceOptions,
    lifespan: number | null = null,
  ): { plainText: string; row: TokenRow } {
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
    return { plainText, row };
  }

  private isLive(token: Token): boolean {
    return isLive(token.created?.getTime(), token.lifespan ?? this.options.lifespanMs, this.clock());
  }

  private isActive(user: unknown): boolean {
    return this.users.isActive?.(user) ?? true;
  }

  private within<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return availableWithin(this.options.timeoutMs, work);
  }
}
