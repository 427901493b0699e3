import { Inject, Injectable } from '@nestjs/common';
import type { TransactionScript } from '../database/database.js';
import { uuidV7 } from '../database/uuid-v7.js';
import { CLOCK, type Clock, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { sanitizeLabel, type Device, liveDevices, leastRecentlyUsed } from './device.js';
import type { RevocationReason } from './events/event.interfaces.js';
import { isLive } from './token-lifetime.js';
import { open, seal } from './secret/token-seal.js';
import { deriveToken, digestToken, generateToken, matchesDigest, parseToken } from './secret/token-secret.js';
import type { Token, TokenPurpose } from './token.entity.js';
import type { Emit } from './events/token.events.js';
import type { DeviceOptions, IssuedPair, IssuedToken, LoggedIn } from './token.interfaces.js';
import { type StoredToken, type TokenRow, TokenStore } from './token.store.js';

/** What is already settled of a new token. */
type NewToken = Pick<TokenRow, 'userId' | 'deviceId' | 'purpose' | 'name' | 'userAgent' | 'created'> &
  Partial<TokenRow>;

/** A last use that does not move back where the clock was set back. */
const notBefore = (noted: Date | null, now: Date) => (noted && noted > now ? noted : now);

/**
 * What is done to the tokens of a user, each in one transaction that is alone among those of the user: what it reads stays
 * true until it is done. Each tells what it does, for it to be known once it is committed.
 */
@Injectable()
export class TokenTransactions {
  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly store: TokenStore,
  ) {}

  /** A token for a new device. */
  *issue(userId: string, options: DeviceOptions, lifespan: number | null, tell?: Emit): TransactionScript<IssuedToken> {
    const device = yield* this.newDevice(userId, options, tell);
    return yield* this.insert({ ...device, purpose: 'access', lifespan });
  }

  /** A token for a new device, and a refresh token where there are such. */
  *logIn(userId: string, options: DeviceOptions, tell?: Emit): TransactionScript<LoggedIn> {
    const device = yield* this.newDevice(userId, options, tell);
    const refresh = this.options.refresh ? yield* this.insert({ ...device, purpose: 'refresh' }) : null;
    return { access: yield* this.insert({ ...device, purpose: 'access' }), refresh };
  }

  /** The one token of a user that can be had again, as the option `obtain` says. */
  *obtain(userId: string, options: DeviceOptions, tell?: Emit): TransactionScript<IssuedToken> {
    const { store } = this;
    const { rows } = yield store.select({ userId, purpose: 'obtained' });
    for (const { token, digest } of store.stored(rows)) {
      const plainText = this.options.obtain !== 'replace' && this.isLive(token) && this.reveal(token.id, digest);
      if (plainText && (yield* this.keep(token))) return { plainText, token };
      const { affected } = yield store.delete({ id: token.id });
      if (affected === 1 && this.isLive(token)) {
        tell?.('expiring-token.revoked', { userId, deviceId: token.deviceId, reason: 'replaced' });
      }
    }
    const device = yield* this.newDevice(userId, options, tell);
    return yield* this.insert({ ...device, purpose: 'obtained' });
  }

  /**
   * The pair that follows a refresh token: a new one, or the same again within the grace.
   *
   * @param id - of its row
   * @param presented - the token itself, which opens what was sealed under it
   * @param isAdmitted - whether the user may have a new pair
   * @returns null when the token was used before and its time is over: its device is ended then
   * @throws ExpiringTokenException `refresh_invalid`, `user_inactive`
   */
  *refresh(id: string, presented: string, isAdmitted: boolean, tell?: Emit): TransactionScript<IssuedPair | null> {
    const found = yield* this.find(id);
    if (found?.token.purpose === 'rotated') {
      const successors = yield* this.successors(found, presented);
      if (successors && !isAdmitted) throw new ExpiringTokenException('user_inactive');
      if (!successors) yield* this.revoke(found.token.userId, found.token.deviceId, 'reused', tell);
      return successors;
    }
    if (!found) throw new ExpiringTokenException('refresh_invalid');
    if (!isAdmitted) throw new ExpiringTokenException('user_inactive');
    if (!this.isLive(found.token)) throw new ExpiringTokenException('refresh_invalid');
    const { userId, deviceId } = found.token;
    tell?.('expiring-token.refreshed', { userId, deviceId });
    return yield* this.rotate(found.token, presented);
  }

  /** Another name for a device. */
  *rename(userId: string, deviceId: string, name: string): TransactionScript<Device> {
    const [device] = yield* this.devices(userId, { deviceId });
    if (!device) throw new ExpiringTokenException('device_not_found');
    yield this.store.update({ name }, { userId, deviceId });
    return { ...device, name };
  }

  /** The end of a device. Returns whether it was live. */
  *revoke(userId: string, deviceId: string, reason: RevocationReason, tell?: Emit): TransactionScript<boolean> {
    const [device] = yield* this.devices(userId, { deviceId });
    // One that has expired too: a longer lifespan would bring it back.
    yield this.store.delete({ userId, deviceId });
    if (device) tell?.('expiring-token.revoked', { userId, deviceId, reason });
    return device !== undefined;
  }

  /** The end of all devices of a user but one. Returns how many were live. */
  *revokeAll(
    userId: string,
    except: { deviceId?: string },
    reason: RevocationReason,
    tell?: Emit,
  ): TransactionScript<number> {
    const devices = (yield* this.devices(userId)).filter(({ id }) => id !== except.deviceId);
    yield this.store.delete({ userId }, except);
    for (const { id } of devices) tell?.('expiring-token.revoked', { userId, deviceId: id, reason });
    return devices.length;
  }

  /** The live devices of a user, newest first. */
  private *devices(userId: string, device: { deviceId?: string } = {}): TransactionScript<Device[]> {
    const now = this.clock();
    const { rows } = yield this.store.selectLive(userId, now, device);
    return liveDevices(this.store.tokens(rows), this.options.lifetimes, now);
  }

  /** Keeps the option `limit`, before one more device is made. */
  private *enforceLimit(userId: string, tell?: Emit): TransactionScript<void> {
    const { limit } = this.options;
    if (!limit) return;
    const devices = yield* this.devices(userId);
    const surplus = devices.length + 1 - limit.perUser;
    if (surplus <= 0) return;
    if (limit.policy === 'reject') throw new ExpiringTokenException('limit_reached');
    for (const { id: deviceId } of leastRecentlyUsed(devices, surplus)) {
      yield this.store.delete({ userId, deviceId });
      tell?.('expiring-token.revoked', { userId, deviceId, reason: 'limit' });
    }
  }

  private *find(id: string): TransactionScript<StoredToken | undefined> {
    const { rows } = yield this.store.select({ id });
    return this.store.stored(rows)[0];
  }

  /** Exchanges a live refresh token. Whatever else its device has stays as it is. */
  private *rotate(old: Token, presented: string): TransactionScript<IssuedPair> {
    const { graceMs } = this.options.refresh!;
    const { userId, deviceId, name, userAgent } = old;
    const now = new Date(this.clock());
    const device = { userId, deviceId, name, userAgent };
    const refresh = this.prepare({
      ...device,
      purpose: 'refresh',
      created: old.created,
      lastUsedAt: notBefore(old.lastUsedAt, now),
    });
    const access = this.prepare({ ...device, purpose: 'access', created: now });
    // Whoever has an older token than the last one has stolen it: there is no grace for that.
    yield this.store.forgetSealed(old);
    const { affected } = yield this.store.rotate(old.id, now, {
      sealed: graceMs > 0 ? seal(`${access.plainText} ${refresh.plainText}`, presented) : null,
      sealedUntil: graceMs > 0 ? new Date(now.getTime() + graceMs) : null,
    });
    // Without the lock of the user, on a server that lost it, another request has won. The client asks again, and gets its pair.
    if (affected !== 1) throw new ExpiringTokenException('unavailable');
    yield this.store.insert(refresh.row, old);
    yield this.store.insert(access.row, old);
    return { access: this.issued(access), refresh: this.issued(refresh) };
  }

  /** The pair that a rotated token got, while it can be had again. */
  private *successors({ sealed, sealedUntil }: StoredToken, presented: string): TransactionScript<IssuedPair | null> {
    if (!sealed || !sealedUntil || !(this.clock() < sealedUntil.getTime())) return null;
    const pair: IssuedToken[] = [];
    for (const plainText of open(sealed, presented).split(' ')) {
      const found = yield* this.find(parseToken(this.options.prefix, plainText)!);
      if (!found) throw new ExpiringTokenException('refresh_invalid');
      pair.push({ plainText, token: found.token });
    }
    const [access, refresh] = pair as [IssuedToken, IssuedToken];
    if (!this.isLive(refresh.token)) throw new ExpiringTokenException('refresh_invalid');
    return { access, refresh };
  }

  /** Renews an obtained token, where the option says so. Returns whether it is still there: pruning asks for no lock. */
  private *keep(token: Token): TransactionScript<boolean> {
    if (this.options.obtain !== 'renew') return true;
    token.created = new Date(this.clock());
    // Or an earlier use would let it idle out in the middle of its new life.
    token.lastUsedAt &&= notBefore(token.lastUsedAt, token.created);
    const renewal = { created: token.created, lastUsedAt: token.lastUsedAt };
    const { affected } = yield this.store.update(renewal, { id: token.id });
    return affected === 1;
  }

  /** A token that a secret made, shown again; null where none of today's secrets made it. */
  private reveal(id: string, digest: Buffer): string | null {
    const candidates = this.options.secrets.map((secret) => deriveToken(this.options.prefix, id, secret));
    return candidates.find((candidate) => matchesDigest(candidate, digest)) ?? null;
  }

  /** What all tokens that a device begins with have in common, once there is room for it. */
  private *newDevice(
    userId: string,
    { name, userAgent }: DeviceOptions,
    tell?: Emit,
  ): TransactionScript<Omit<NewToken, 'purpose'>> {
    yield* this.enforceLimit(userId, tell);
    const now = this.clock();
    const deviceId = uuidV7(now);
    tell?.('expiring-token.issued', { userId, deviceId });
    return {
      userId,
      deviceId,
      name: sanitizeLabel(name),
      userAgent: sanitizeLabel(userAgent),
      created: new Date(now),
    };
  }

  private *insert(token: NewToken): TransactionScript<IssuedToken> {
    const prepared = this.prepare(token);
    yield this.store.insert(prepared.row);
    return this.issued(prepared);
  }

  /** A new token and its row. */
  private prepare(token: NewToken): { plainText: string; row: TokenRow } {
    const id = uuidV7(this.clock());
    const plainText = this.newPlainText(token.purpose, id);
    const digest = digestToken(plainText);
    return { plainText, row: { lifespan: null, lastUsedAt: null, ...token, id, digest } };
  }

  private newPlainText(purpose: TokenPurpose, id: string): string {
    const [secret] = this.options.secrets;
    return purpose === 'obtained' && secret
      ? deriveToken(this.options.prefix, id, secret)
      : generateToken(this.options.prefix, id);
  }

  private issued({ plainText, row }: { plainText: string; row: TokenRow }): IssuedToken {
    return { plainText, token: this.store.tokenOf(row) };
  }

  private isLive(token: Token): boolean {
    return isLive(token, this.options.lifetimes, this.clock());
  }
}
