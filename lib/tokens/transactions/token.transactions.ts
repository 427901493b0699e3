import { Inject, Injectable } from '@nestjs/common';
import type { TransactionScript } from '../../database/database.js';
import { uuidV7 } from '../../database/uuid-v7.js';
import { ExpiringTokenException } from '../../errors/expiring-token.exception.js';
import { CLOCK, type Clock, RESOLVED_OPTIONS } from '../../expiring-token.constants.js';
import type { ResolvedOptions } from '../../options/resolve-options.js';
import { actorOf, notBefore, sanitizeLabel } from '../device.js';
import { DeviceQueries } from '../device.queries.js';
import type { IssuedEvent, RevocationReason } from '../events/event.interfaces.js';
import type { Emit } from '../events/token.events.js';
import { PersonalTokenTransactions } from '../personal/personal-token.transactions.js';
import { TokenValidity } from '../token-lifetime.js';
import { rulesOf } from '../token-purpose.js';
import type { Token } from '../token.entity.js';
import { type NewToken, TokenFactory } from '../token.factory.js';
import type { DeviceOptions, IssuedToken, LoggedIn } from '../token.interfaces.js';
import { type DeviceColumns, TokenQueries, type TokenRow } from '../token.queries.js';
import { TooManyRows } from './user.transactions.js';

/** How many tokens one transaction deletes at most: databases need a fraction of the default time limit for so many. */
const MAX_DELETED_TOKENS = 20_000;

/** How many devices one transaction evicts at most. */
const MAX_EVICTED_DEVICES = 30_000;

/** A new device, and when it was created. */
type NewDevice = DeviceColumns & Pick<TokenRow, 'created'>;

/**
 * The changes to the tokens of a user, each as the script of one transaction, which `UserTransactions` runs under the lock of
 * the user: what a script reads stays true until it ends.
 */
@Injectable()
export class TokenTransactions {
  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly queries: TokenQueries,
    private readonly devices: DeviceQueries,
    private readonly factory: TokenFactory,
    private readonly validity: TokenValidity,
    private readonly personalTokens: PersonalTokenTransactions,
  ) {}

  /**
   * Issues a token to a new device, which counts for the option `limit` only if tokens of this purpose make a device.
   *
   * @param token - its purpose, and its own lifespan, its scopes and its actor, or null
   */
  *issue(
    userId: string,
    options: DeviceOptions,
    token: Pick<TokenRow, 'purpose' | 'lifespan' | 'scopes' | 'actorId'>,
    emit: Emit,
  ): TransactionScript<IssuedToken> {
    const device = yield* this.newDevice(userId, options, { ...token, via: 'issue' }, emit);
    return yield* this.insert({ ...device, ...token });
  }

  /** Issues a token to a new device, and a refresh token if the option `refresh` is set. */
  *logIn(userId: string, options: DeviceOptions, emit: Emit): TransactionScript<LoggedIn> {
    const device = yield* this.newDevice(userId, options, { purpose: 'access', via: 'login' }, emit);
    const refresh = this.options.refresh ? yield* this.insert({ ...device, purpose: 'refresh' }) : null;
    return { access: yield* this.insert({ ...device, purpose: 'access' }), refresh };
  }

  /**
   * The one token of a user that can be obtained again: reused, renewed or replaced, as the option `obtain` says. A token that
   * the current secret did not make is replaced.
   */
  *obtain(userId: string, options: DeviceOptions, emit: Emit): TransactionScript<IssuedToken> {
    const { rows } = yield this.queries.select({ userId, purpose: 'obtained' });
    for (const { token, digest } of this.queries.stored(rows)) {
      const canReuse = this.options.obtain !== 'replace' && this.validity.isLive(token);
      const plainText = canReuse && this.factory.reveal(token.purpose, token.id, digest);
      if (plainText && (yield* this.renew(token))) return { plainText, token };
      const { affected } = yield this.queries.delete({ id: token.id });
      if (affected === 1 && this.validity.isLive(token)) {
        emit('expiring-token.revoked', { userId, deviceId: token.deviceId, reason: 'replaced' });
      }
    }
    const device = yield* this.newDevice(userId, options, { purpose: 'obtained', via: 'obtain' }, emit);
    return yield* this.insert({ ...device, purpose: 'obtained' });
  }

  /** Revokes a device. Returns whether it was live. */
  *revoke(userId: string, deviceId: string, reason: RevocationReason, emit: Emit): TransactionScript<boolean> {
    const [live] = yield* this.liveDevices(userId, { deviceId });
    // Expired tokens too: a longer lifespan, configured later, would make them valid again.
    yield this.devices.deleteAll({ userId, deviceId });
    if (live !== undefined) emit('expiring-token.revoked', { userId, deviceId, reason });
    return live !== undefined;
  }

  /**
   * Revokes all devices of a user, or all but one, and all personal tokens if `personal` is true. Each one that was live has an
   * event.
   *
   * @returns how many personal tokens were live
   * @throws TooManyRows
   */
  *revokeAll(
    userId: string,
    { personal, ...except }: { deviceId?: string; personal: boolean },
    reason: RevocationReason,
    emit: Emit,
  ): TransactionScript<number> {
    const { rows } = yield this.devices.tokensBeyond(userId, except, MAX_DELETED_TOKENS);
    if (rows.length > 0) throw new TooManyRows((emitBatch) => this.revokeSome(userId, except, reason, emitBatch));
    const deviceIds = (yield* this.liveDevices(userId)).filter((deviceId) => deviceId !== except.deviceId);
    yield this.devices.deleteAll({ userId }, except);
    for (const deviceId of deviceIds) emit('expiring-token.revoked', { userId, deviceId, reason });
    return personal ? yield* this.personalTokens.revokeAll(userId, reason, emit) : 0;
  }

  /** Deletes a part of a user's tokens. A device of which a live token is among them counts as revoked. */
  private *revokeSome(
    userId: string,
    except: { deviceId?: string },
    reason: RevocationReason,
    emit: Emit,
  ): TransactionScript<void> {
    const { rows } = yield this.devices.tokens(userId, except, this.clock(), MAX_DELETED_TOKENS / 2);
    for (const statement of this.devices.deleteTokens(this.devices.tokenIds(rows))) yield statement;
    for (const deviceId of this.devices.liveDeviceIds(rows)) {
      emit('expiring-token.revoked', { userId, deviceId, reason });
    }
  }

  /** The ids of the live devices of a user, or of one of them if it is live. */
  private *liveDevices(userId: string, device: { deviceId?: string } = {}): TransactionScript<string[]> {
    const { rows } = yield this.devices.ids(userId, this.clock(), device);
    return this.devices.deviceIds(rows);
  }

  /** Creates the device of a token of this purpose. The option `limit` is enforced first, so it never revokes this device. */
  private *newDevice(
    userId: string,
    options: DeviceOptions,
    { purpose, via, actorId = null }: Pick<IssuedEvent, 'purpose' | 'via'> & Partial<Pick<TokenRow, 'actorId'>>,
    emit: Emit,
  ): TransactionScript<NewDevice> {
    if (rulesOf(purpose)?.isDevice && actorId === null) yield* this.enforceLimit(userId, emit);
    const now = this.clock();
    const deviceId = uuidV7(now);
    const [name, userAgent] = [sanitizeLabel(options.name), sanitizeLabel(options.userAgent)];
    emit('expiring-token.issued', { userId, deviceId, purpose, name, userAgent, via, ...actorOf({ actorId }) });
    const created = new Date(now);
    const authenticatedAt = via === 'issue' ? null : created;
    return { userId, deviceId, name, userAgent, scopes: null, authenticatedAt, actorId, created };
  }

  /** Makes sure that a user can have one more device without exceeding the option `limit`. */
  private *enforceLimit(userId: string, emit: Emit): TransactionScript<void> {
    const { limit } = this.options;
    if (!limit) return;
    const counted = yield this.devices.count(userId, this.clock());
    const surplus = Number(counted.rows[0]?.found) + 1 - limit.perUser;
    if (surplus <= 0) return;
    if (limit.policy === 'reject') throw new ExpiringTokenException('limit_reached');
    if (surplus > MAX_EVICTED_DEVICES) {
      throw new TooManyRows((emitBatch) => this.evict(userId, MAX_EVICTED_DEVICES, emitBatch));
    }
    yield* this.evict(userId, surplus, emit);
  }

  /** Revokes the devices of a user that were not used for the longest time. */
  private *evict(userId: string, number: number, emit: Emit): TransactionScript<void> {
    const { rows } = yield this.devices.leastRecentlyUsed(userId, this.clock(), number);
    const deviceIds = this.devices.deviceIds(rows);
    for (const statement of this.devices.delete(userId, deviceIds)) yield statement;
    for (const deviceId of deviceIds) emit('expiring-token.revoked', { userId, deviceId, reason: 'limit' });
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
    token.authenticatedAt = token.created;
    const { created, lastUsedAt, authenticatedAt } = token;
    const renewal = { created, lastUsedAt, authenticatedAt };
    const { affected } = yield this.queries.update(renewal, { id: token.id });
    return affected === 1;
  }

  private *insert(token: NewToken): TransactionScript<IssuedToken> {
    const prepared = this.factory.prepare(token);
    yield this.queries.insert(prepared.row);
    return this.factory.issued(prepared);
  }
}
