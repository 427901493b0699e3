import { Inject, Injectable } from '@nestjs/common';
import type { TransactionScript } from '../database/database.js';
import { uuidV7 } from '../database/uuid-v7.js';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { CLOCK, type Clock, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { type Device, leastRecentlyUsed, liveDevices, sanitizeLabel } from './device.js';
import type { RevocationReason } from './events/event.interfaces.js';
import type { Emit } from './events/token.events.js';
import { open, seal } from './secret/token-seal.js';
import { deriveToken, digestToken, generateToken, matchesDigest, parseToken } from './secret/token-secret.js';
import { TokenValidity } from './token-lifetime.js';
import { rulesOf, type TokenPurpose } from './token-purpose.js';
import type { Token } from './token.entity.js';
import type { DeviceOptions, IssuedPair, IssuedToken, LoggedIn } from './token.interfaces.js';
import { type DeviceColumns, type StoredToken, TokenQueries, type TokenRow } from './token.queries.js';

/** A new device, and when it was created. */
type NewDevice = DeviceColumns & Pick<TokenRow, 'created'>;

/** The columns of a new token, but for those that {@link TokenTransactions} chooses. */
type NewToken = NewDevice & Pick<TokenRow, 'purpose'> & Partial<Pick<TokenRow, 'lifespan' | 'lastUsedAt'>>;

/** A new token before it is inserted. */
interface PreparedToken {
  readonly plainText: string;
  readonly row: TokenRow;
}

/** The later of a stored last use and now: if the clock was set back, a last use does not move back with it. */
const notBefore = (stored: Date | null, now: Date) => (stored && stored > now ? stored : now);

/**
 * All changes to the tokens of a user, each as the script of one transaction, which `UserTransactions` runs under the lock of
 * the user: what a script reads stays true until it ends.
 */
@Injectable()
export class TokenTransactions {
  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly queries: TokenQueries,
    private readonly validity: TokenValidity,
  ) {}

  /**
   * Issues a token to a new device, which counts for the option `limit` only if tokens of this purpose make a device.
   *
   * @param token - its purpose, and its own lifespan or null
   */
  *issue(
    userId: string,
    options: DeviceOptions,
    token: Pick<TokenRow, 'purpose' | 'lifespan'>,
    emit: Emit,
  ): TransactionScript<IssuedToken> {
    const device = yield* this.newDevice(userId, token.purpose, options, emit);
    return yield* this.insert({ ...device, ...token });
  }

  /** Issues a token to a new device, and a refresh token if the option `refresh` is set. */
  *logIn(userId: string, options: DeviceOptions, emit: Emit): TransactionScript<LoggedIn> {
    const device = yield* this.newDevice(userId, 'access', options, emit);
    const refresh = this.options.refresh ? yield* this.insert({ ...device, purpose: 'refresh' }) : null;
    return { access: yield* this.insert({ ...device, purpose: 'access' }), refresh };
  }

  /** The one token of a user that can be obtained again: reused, renewed or replaced, as the option `obtain` says. */
  *obtain(userId: string, options: DeviceOptions, emit: Emit): TransactionScript<IssuedToken> {
    const { rows } = yield this.queries.select({ userId, purpose: 'obtained' });
    for (const { token, digest } of this.queries.stored(rows)) {
      const canReuse = this.options.obtain !== 'replace' && this.validity.isLive(token);
      const plainText = canReuse && this.reveal(token.id, digest);
      if (plainText && (yield* this.renew(token))) return { plainText, token };
      const { affected } = yield this.queries.delete({ id: token.id });
      if (affected === 1 && this.validity.isLive(token)) {
        emit('expiring-token.revoked', { userId, deviceId: token.deviceId, reason: 'replaced' });
      }
    }
    const device = yield* this.newDevice(userId, 'obtained', options, emit);
    return yield* this.insert({ ...device, purpose: 'obtained' });
  }

  /**
   * Exchanges a refresh token for a new pair, or within the grace for the same pair again. A refresh token that is used after
   * its grace may be stolen: its device is revoked.
   *
   * @param id - of its row
   * @param presented - the token itself, which opens what was sealed under it
   * @param isActive - whether the user may use tokens
   * @returns null if the token was reused after its grace
   * @throws ExpiringTokenException `refresh_invalid`, `user_inactive`
   */
  *refresh(id: string, presented: string, isActive: boolean, emit: Emit): TransactionScript<IssuedPair | null> {
    const found = yield* this.find(id);
    if (found?.token.purpose === 'rotated') {
      const successors = yield* this.successors(found, presented);
      if (successors && !isActive) throw new ExpiringTokenException('user_inactive');
      if (!successors) yield* this.revoke(found.token.userId, found.token.deviceId, 'reused', emit);
      return successors;
    }
    if (!found) throw new ExpiringTokenException('refresh_invalid');
    if (!isActive) throw new ExpiringTokenException('user_inactive');
    if (!this.validity.isLive(found.token)) throw new ExpiringTokenException('refresh_invalid');
    const { userId, deviceId } = found.token;
    emit('expiring-token.refreshed', { userId, deviceId });
    return yield* this.rotate(found.token, presented);
  }

  /** Renames a device. */
  *rename(userId: string, deviceId: string, name: string): TransactionScript<Device> {
    const [device] = yield* this.devices(userId, { deviceId });
    if (!device) throw new ExpiringTokenException('device_not_found');
    yield this.queries.update({ name }, { userId, deviceId });
    return { ...device, name };
  }

  /** Revokes a device. Returns whether it was live. */
  *revoke(userId: string, deviceId: string, reason: RevocationReason, emit: Emit): TransactionScript<boolean> {
    const [device] = yield* this.devices(userId, { deviceId });
    // Expired tokens too: a longer lifespan, configured later, would make them valid again.
    yield this.queries.delete({ userId, deviceId });
    if (device) emit('expiring-token.revoked', { userId, deviceId, reason });
    return device !== undefined;
  }

  /** Revokes all devices of a user, or all but one. Returns how many were live. */
  *revokeAll(
    userId: string,
    except: { deviceId?: string },
    reason: RevocationReason,
    emit: Emit,
  ): TransactionScript<number> {
    const devices = (yield* this.devices(userId)).filter(({ id }) => id !== except.deviceId);
    yield this.queries.delete({ userId }, except);
    for (const { id } of devices) emit('expiring-token.revoked', { userId, deviceId: id, reason });
    return devices.length;
  }

  /** The live devices of a user, newest first. */
  private *devices(userId: string, device: { deviceId?: string } = {}): TransactionScript<Device[]> {
    const now = this.clock();
    const { rows } = yield this.queries.selectDevices(userId, now, device);
    return liveDevices(this.queries.tokens(rows), this.validity.lifetimes, now);
  }

  private *find(id: string): TransactionScript<StoredToken | undefined> {
    const { rows } = yield this.queries.select({ id });
    return this.queries.stored(rows)[0];
  }

  /** Creates the device of a token of this purpose. The option `limit` is enforced first, so it never revokes this device. */
  private *newDevice(
    userId: string,
    purpose: TokenPurpose,
    { name, userAgent }: DeviceOptions,
    emit: Emit,
  ): TransactionScript<NewDevice> {
    if (rulesOf(purpose)?.isDevice) yield* this.enforceLimit(userId, emit);
    const now = this.clock();
    const deviceId = uuidV7(now);
    emit('expiring-token.issued', { userId, deviceId });
    return {
      userId,
      deviceId,
      name: sanitizeLabel(name),
      userAgent: sanitizeLabel(userAgent),
      created: new Date(now),
    };
  }

  /** Makes sure that a user can have one more device without exceeding the option `limit`. */
  private *enforceLimit(userId: string, emit: Emit): TransactionScript<void> {
    const { limit } = this.options;
    if (!limit) return;
    const devices = yield* this.devices(userId);
    const surplus = devices.length + 1 - limit.perUser;
    if (surplus <= 0) return;
    if (limit.policy === 'reject') throw new ExpiringTokenException('limit_reached');
    for (const { id: deviceId } of leastRecentlyUsed(devices, surplus)) {
      yield this.queries.delete({ userId, deviceId });
      emit('expiring-token.revoked', { userId, deviceId, reason: 'limit' });
    }
  }

  /** Exchanges a live refresh token. The other tokens of its device stay as they are. */
  private *rotate(old: Token, presented: string): TransactionScript<IssuedPair> {
    const { graceMs } = this.options.refresh!;
    const now = new Date(this.clock());
    const device = this.queries.deviceColumnsOf(old);
    const refresh = this.prepare({
      ...device,
      purpose: 'refresh',
      created: old.created,
      lastUsedAt: notBefore(old.lastUsedAt, now),
    });
    const access = this.prepare({ ...device, purpose: 'access', created: now });
    // The grace is for the last token only: a client that sends an older one has stolen it.
    yield this.queries.forgetSealed(old);
    const { affected } = yield this.queries.rotate(old.id, now, {
      sealed: graceMs > 0 ? seal(`${access.plainText} ${refresh.plainText}`, presented) : null,
      sealedUntil: graceMs > 0 ? new Date(now.getTime() + graceMs) : null,
    });
    // If a server lost the lock of the user, another request may have been first. The client retries, and gets that pair.
    if (affected !== 1) throw new ExpiringTokenException('unavailable');
    yield this.queries.insert(refresh.row);
    yield this.queries.insert(access.row);
    return { access: this.issued(access), refresh: this.issued(refresh) };
  }

  /** The pair that a rotated token was exchanged for; null if its grace is over. */
  private *successors({ sealed, sealedUntil }: StoredToken, presented: string): TransactionScript<IssuedPair | null> {
    if (!sealed || !sealedUntil || !(this.clock() < sealedUntil.getTime())) return null;
    const pair: IssuedToken[] = [];
    for (const plainText of open(sealed, presented).split(' ')) {
      const found = yield* this.find(parseToken(this.options.prefix, plainText)!);
      if (!found) throw new ExpiringTokenException('refresh_invalid');
      pair.push({ plainText, token: found.token });
    }
    const [access, refresh] = pair as [IssuedToken, IssuedToken];
    if (!this.validity.isLive(refresh.token)) throw new ExpiringTokenException('refresh_invalid');
    return { access, refresh };
  }

  /**
   * Renews an obtained token if the option `obtain` says so. Returns whether the token still exists: pruning, which takes no
   * lock, may have deleted it.
   */
  private *renew(token: Token): TransactionScript<boolean> {
    if (this.options.obtain !== 'renew') return true;
    token.created = new Date(this.clock());
    // Otherwise an earlier use would let the token idle out in the middle of its new life.
    token.lastUsedAt &&= notBefore(token.lastUsedAt, token.created);
    const renewal = { created: token.created, lastUsedAt: token.lastUsedAt };
    const { affected } = yield this.queries.update(renewal, { id: token.id });
    return affected === 1;
  }

  /** A token that was derived from a secret, derived again; null if no configured secret yields its digest. */
  private reveal(id: string, digest: Buffer): string | null {
    const candidates = this.options.secrets.map((secret) => deriveToken(this.options.prefix, id, secret));
    return candidates.find((candidate) => matchesDigest(candidate, digest)) ?? null;
  }

  private *insert(token: NewToken): TransactionScript<IssuedToken> {
    const prepared = this.prepare(token);
    yield this.queries.insert(prepared.row);
    return this.issued(prepared);
  }

  private prepare(token: NewToken): PreparedToken {
    const id = uuidV7(this.clock());
    const plainText = this.newPlainText(token.purpose, id);
    const digest = digestToken(plainText);
    return { plainText, row: { lifespan: null, lastUsedAt: null, ...token, id, digest } };
  }

  private newPlainText(purpose: TokenPurpose, id: string): string {
    const [secret] = this.options.secrets;
    return rulesOf(purpose)?.isDerived && secret
      ? deriveToken(this.options.prefix, id, secret)
      : generateToken(this.options.prefix, id);
  }

  private issued({ plainText, row }: PreparedToken): IssuedToken {
    return { plainText, token: this.queries.tokenOf(row) };
  }
}
