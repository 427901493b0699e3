import { Inject, Injectable } from '@nestjs/common';
import type { TransactionScript } from '../../database/database.js';
import { ExpiringTokenException } from '../../errors/expiring-token.exception.js';
import { CLOCK, type Clock, RESOLVED_OPTIONS } from '../../expiring-token.constants.js';
import type { ResolvedOptions } from '../../options/resolve-options.js';
import { notBefore, toAsciiLabel } from '../device.js';
import { DeviceQueries } from '../device.queries.js';
import type { Emit } from '../events/token.events.js';
import { open, seal } from '../secret/token-seal.js';
import { parseToken } from '../secret/token-secret.js';
import { TokenValidity } from '../token-lifetime.js';
import type { Token } from '../token.entity.js';
import { type PreparedToken, TokenFactory } from '../token.factory.js';
import type { IssuedPair, IssuedToken } from '../token.interfaces.js';
import { type StoredToken, TokenQueries, type TokenRow } from '../token.queries.js';
import { TokenTransactions } from './token.transactions.js';

/**
 * How often a refresh token gets the same pair again within its grace. A page that sends many requests may refresh once for
 * each of them; a thief who follows the owner from rotation to rotation is reported, and cannot ask without limit.
 */
const MAX_REPLAYS = 30;

/**
 * How often a device can refresh within the time for which an exchanged token is kept, the option `refresh.idle`: what the holder
 * of one token can store is bounded. With the default of a week, a client that refreshes every 40 seconds does not reach it.
 */
export const MAX_EXCHANGES = 20_000;

/** The request that presents a refresh token. */
export interface Presentation {
  /** Its user agent as a label. */
  userAgent: string | null;
  /** The token itself, which opens what was sealed under it. */
  refreshToken: string;
  /** Whether the user may use tokens. */
  isActive: boolean;
}

/** What is sealed when a refresh token is exchanged: its successors, and how often they were returned again. */
interface Exchange {
  access: string;
  refresh: string;
  replays: number;
}

function sealExchange({ access, refresh, replays }: Exchange, refreshToken: string): Buffer {
  // The number is added at the first repetition: processes of an earlier version open two tokens and nothing else.
  return seal([access, refresh, ...(replays > 0 ? [replays] : [])].join(' '), refreshToken);
}

function openExchange(sealed: Buffer, refreshToken: string): Exchange {
  const [access = '', refresh = '', replays = '0'] = open(sealed, refreshToken).split(' ');
  return { access, refresh, replays: Number(replays) };
}

/** The exchange of refresh tokens, as a script that `UserTransactions` runs under the lock of the user. */
@Injectable()
export class RefreshTransactions {
  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly queries: TokenQueries,
    private readonly devices: DeviceQueries,
    private readonly factory: TokenFactory,
    private readonly validity: TokenValidity,
    private readonly tokens: TokenTransactions,
  ) {}

  /**
   * Exchanges a refresh token for a new pair, or within the grace for the same pair again. A refresh token that is used after
   * its grace may be stolen: its device is revoked.
   *
   * @param id - of its row
   * @returns null if the token was rejected, and the rejection is to be committed
   * @throws ExpiringTokenException `refresh_invalid`, `user_inactive`
   */
  *refresh(id: string, presentation: Presentation, emit: Emit): TransactionScript<IssuedPair | null> {
    const found = yield* this.find(id);
    if (!found) throw new ExpiringTokenException('refresh_invalid');
    if (found.token.purpose === 'rotated') return yield* this.repeat(found, presentation, emit);
    if (!presentation.isActive) throw new ExpiringTokenException('user_inactive');
    if (!this.validity.isLive(found.token)) throw new ExpiringTokenException('refresh_invalid');
    if (yield* this.isExhausted(found.token)) return yield* this.endReused(found.token, emit);
    const pair = yield* this.rotate(found.token, presentation);
    const { userId, deviceId, purpose, name, userAgent } = pair.access.token;
    emit('expiring-token.refreshed', { userId, deviceId, purpose, name, userAgent, via: 'refresh' });
    return pair;
  }

  private *find(id: string): TransactionScript<StoredToken | undefined> {
    const { rows } = yield this.queries.select({ id });
    return this.queries.stored(rows)[0];
  }

  /** Answers a refresh token that was exchanged before. */
  private *repeat(
    { token, sealed, sealedUntil }: StoredToken,
    { refreshToken, isActive, userAgent }: Presentation,
    emit: Emit,
  ): TransactionScript<IssuedPair | null> {
    const { userId, deviceId } = token;
    if (!sealed || !sealedUntil || !(this.clock() < sealedUntil.getTime())) {
      return yield* this.endReused(token, emit);
    }
    const exchange = openExchange(sealed, refreshToken);
    const pair = yield* this.successors(exchange);
    if (!isActive) throw new ExpiringTokenException('user_inactive');
    const refused = exchange.replays >= MAX_REPLAYS || ![userAgent, toAsciiLabel(userAgent)].includes(token.userAgent);
    emit('expiring-token.replayed', { userId, deviceId, refused });
    if (refused) return null;
    const replays = exchange.replays + 1;
    yield this.queries.reseal(token.id, sealExchange({ ...exchange, replays }, refreshToken));
    return pair;
  }

  /** Revokes the device of a refresh token that may be stolen. */
  private *endReused({ userId, deviceId }: Token, emit: Emit): TransactionScript<null> {
    yield* this.tokens.revoke(userId, deviceId, 'reused', emit);
    emit('expiring-token.reused', { userId, deviceId });
    return null;
  }

  /** Whether a device has refreshed too often. No exchanged token is deleted before it expires: its reuse would go unnoticed. */
  private *isExhausted(token: Token): TransactionScript<boolean> {
    const { rows } = yield this.devices.countExchanged(token, this.clock());
    return Number(rows[0]?.found) >= MAX_EXCHANGES;
  }

  /** The pair that a rotated token was exchanged for. */
  private *successors({ access, refresh }: Exchange): TransactionScript<IssuedPair> {
    const pair = { access: yield* this.issued(access), refresh: yield* this.issued(refresh) };
    if (!this.validity.isLive(pair.refresh.token)) throw new ExpiringTokenException('refresh_invalid');
    return pair;
  }

  private *issued(plainText: string): TransactionScript<IssuedToken> {
    const found = yield* this.find(parseToken([this.options.prefix], plainText)!);
    if (!found) throw new ExpiringTokenException('refresh_invalid');
    return { plainText, token: found.token };
  }

  /** Exchanges a live refresh token. The device keeps its newest access tokens. */
  private *rotate(old: Token, { refreshToken, userAgent }: Presentation): TransactionScript<IssuedPair> {
    const { graceMs } = this.options.refresh!;
    const now = new Date(this.clock());
    const columns = { ...this.queries.deviceColumnsOf(old), created: now };
    const access = this.factory.prepare({ ...columns, purpose: 'access' });
    const lastUsedAt = notBefore(old.lastUsedAt, now);
    const refresh = this.factory.prepare({ ...columns, purpose: 'refresh', created: old.created, lastUsedAt });
    const exchange = { access: access.plainText, refresh: refresh.plainText, replays: 0 };
    // The grace is for the last token only: a client that sends an older one has stolen it.
    yield this.queries.forgetSealed(old);
    const { affected } = yield this.queries.rotate(old.id, {
      created: now,
      // No device is shown by a rotated token, so the column is free for the user agent that may repeat this request.
      userAgent,
      sealed: graceMs > 0 ? sealExchange(exchange, refreshToken) : null,
      sealedUntil: graceMs > 0 ? new Date(now.getTime() + graceMs) : null,
    });
    // If a server lost the lock of the user, another request may have been first. The client retries, and gets that pair.
    if (affected !== 1) throw new ExpiringTokenException('unavailable');
    yield* this.deleteSurplus(old);
    // Read again, now that the row is locked: renaming a device takes no lock of the user.
    const { userAgent: _, ...device } = this.queries.deviceColumnsOf((yield* this.find(old.id))!.token);
    const issuedRefresh = yield* this.insert(refresh, device);
    return { access: yield* this.insert(access, device), refresh: issuedRefresh };
  }

  private *insert({ plainText, row }: PreparedToken, device: Partial<TokenRow>): TransactionScript<IssuedToken> {
    const prepared = { plainText, row: { ...row, ...device } };
    yield this.queries.insert(prepared.row);
    return this.factory.issued(prepared);
  }

  /** Deletes the oldest tokens of a device, so that a refresh does not exceed the limits of the table of purposes. */
  private *deleteSurplus(old: Token): TransactionScript<void> {
    const { rows } = yield this.devices.surplus(old, this.clock());
    for (const statement of this.devices.deleteTokens(this.devices.tokenIds(rows))) yield statement;
  }
}
