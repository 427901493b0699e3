import { Inject, Injectable } from '@nestjs/common';
import type { TransactionScript } from '../../database/database.js';
import { ExpiringTokenException } from '../../errors/expiring-token.exception.js';
import { CLOCK, type Clock, RESOLVED_OPTIONS } from '../../expiring-token.constants.js';
import type { ResolvedOptions } from '../../options/resolve-options.js';
import { DeviceQueries } from '../device.queries.js';
import type { RevocationReason } from '../events/event.interfaces.js';
import type { Emit } from '../events/token.events.js';
import { TokenValidity } from '../token-lifetime.js';
import { rulesOf } from '../token-purpose.js';
import { isWithin } from '../token-scopes.js';
import type { Token } from '../token.entity.js';
import { type NewToken, TokenFactory } from '../token.factory.js';
import type { IssuedToken } from '../token.interfaces.js';
import { TokenQueries } from '../token.queries.js';
import { PersonalTokenQueries } from './personal-token.queries.js';

/** What a new personal token is to be. */
export interface NewPersonalToken {
  name: string;
  scopes: string[] | null;
  lifespanMs: number;
}

/** The message of `limit_reached` for personal tokens. */
export const TOO_MANY_TOKENS = 'Too many tokens';

/** How many expired rows of a user are kept, for each of the tokens that the user can have. */
const KEPT_EXPIRED = 2;

/** The changes to the personal tokens of a user, as scripts that `UserTransactions` runs under the lock of the user. */
@Injectable()
export class PersonalTokenTransactions {
  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly tokenQueries: TokenQueries,
    private readonly deviceQueries: DeviceQueries,
    private readonly queries: PersonalTokenQueries,
    private readonly factory: TokenFactory,
    private readonly validity: TokenValidity,
  ) {}

  /**
   * Issues a personal token.
   *
   * @param by - the token of the request; undefined if the application itself issues it
   * @throws ExpiringTokenException `limit_reached`, and the errors of {@link scopesOfLogin} and `scope_insufficient`
   */
  *issue(userId: string, token: NewPersonalToken, by: Token | undefined, emit: Emit): TransactionScript<IssuedToken> {
    const { name, scopes, lifespanMs } = token;
    assertWithin(scopes, yield* this.scopesOfLogin(userId, by));
    const { perUser } = this.options.personal!;
    if ((yield* this.list(userId)).length >= perUser) {
      throw new ExpiringTokenException('limit_reached', { message: TOO_MANY_TOKENS });
    }
    yield* this.deleteSurplus(userId, KEPT_EXPIRED * perUser);
    const created = new Date(this.clock());
    const none = { userAgent: null, authenticatedAt: null, actorId: null };
    return yield* this.insert(
      { ...none, userId, name, scopes, created, lifespan: lifespanMs, purpose: 'personal' },
      emit,
    );
  }

  /**
   * Gives a personal token another secret. What is the same for both is that of the earlier row. The length of life is that of the
   * newest row, even if it expired because it was never used: that of the row before it was shortened to the overlap.
   *
   * @throws ExpiringTokenException `token_not_found`, and the errors of {@link scopesOfLogin} and `scope_insufficient`
   */
  *rotate(
    userId: string,
    id: string,
    overlapMs: number,
    by: Token | undefined,
    emit: Emit,
  ): TransactionScript<IssuedToken> {
    const allowed = yield* this.scopesOfLogin(userId, by);
    const { newest, old } = yield* this.findRows(userId, id);
    assertWithin(old.scopes, allowed);
    const created = new Date(this.clock());
    // Of an earlier rotation: there is at most one secret beside the current one.
    yield this.queries.delete({ userId, id }, overlapMs > 0 ? old.id : undefined);
    if (overlapMs > 0) yield this.tokenQueries.update(this.expiringAfter(old, created, overlapMs), { id: old.id });
    const lifespan = Math.min(newest.lifespan ?? 0, this.options.personal!.longestMs);
    return yield* this.insert(
      { ...this.tokenQueries.deviceColumnsOf(old), created, lifespan, purpose: 'personal' },
      emit,
    );
  }

  /** @throws ExpiringTokenException `token_not_found` */
  *rename(userId: string, id: string, name: string): TransactionScript<Token> {
    const token = yield* this.find(userId, id);
    yield this.queries.rename({ userId, id }, name);
    return Object.assign(token, { name });
  }

  /** Revokes a personal token. Returns whether it was live. */
  *revoke(userId: string, id: string, emit: Emit): TransactionScript<boolean> {
    return (yield* this.revokeThese({ userId, id }, 'revoked', emit)) > 0;
  }

  /** Revokes all personal tokens of a user. Returns how many were live. */
  *revokeAll(userId: string, reason: RevocationReason, emit: Emit): TransactionScript<number> {
    return yield* this.revokeThese({ userId }, reason, emit);
  }

  private *revokeThese(
    criteria: { userId: string; id?: string },
    reason: RevocationReason,
    emit: Emit,
  ): TransactionScript<number> {
    const live = yield* this.list(criteria.userId, criteria.id);
    // Expired ones too, as with devices.
    yield this.queries.delete(criteria);
    for (const { userId, deviceId } of live) emit('expiring-token.revoked', { userId, deviceId, reason });
    return live.length;
  }

  private *list(userId: string, id?: string): TransactionScript<Token[]> {
    const { rows } = yield this.queries.list({ userId, ...(id !== undefined && { id }) }, this.clock());
    return this.queries.current(rows);
  }

  /** The newest row of a live token, and its newest live row. */
  private *findRows(userId: string, id: string): TransactionScript<{ newest: Token; old: Token }> {
    const { rows } = yield this.queries.rowsOf({ userId, id });
    const tokens = this.queries.read(rows);
    const old = tokens.find((token) => this.validity.isLive(token));
    if (!old) throw new ExpiringTokenException('token_not_found');
    return { newest: tokens[0]!, old };
  }

  private *find(userId: string, id: string): TransactionScript<Token> {
    const [token] = yield* this.list(userId, id);
    if (!token) throw new ExpiringTokenException('token_not_found');
    return token;
  }

  /**
   * Returns the scopes that the holder of a token may give a personal one. A login that was revoked while the request waited may
   * make none: revocations run first, and a personal token would outlive them.
   *
   * @param by - undefined if the application itself asks, which may give all scopes
   * @throws ExpiringTokenException `token_invalid`, also for the token of another user; `login_required`
   */
  private *scopesOfLogin(userId: string, by: Token | undefined): TransactionScript<string[] | null> {
    if (!by) return null;
    const { rows } = yield this.tokenQueries.select({ id: by.id });
    const [found] = this.tokenQueries.stored(rows);
    if (!found || found.token.userId !== userId || !this.validity.isLive(found.token)) {
      throw new ExpiringTokenException('token_invalid');
    }
    const { purpose, actorId, scopes } = found.token;
    if (rulesOf(purpose)?.isPersonal || actorId !== null) throw new ExpiringTokenException('login_required');
    return scopes;
  }

  /**
   * The columns of an earlier row that expires after the overlap. Its age is counted from the rotation, so that tokens have few
   * different lifespans, each of which a sweep visits; from a millisecond before, so that it stays the older one.
   */
  private expiringAfter(old: Token, rotated: Date, overlapMs: number): Pick<Token, 'created' | 'lifespan'> {
    const created = new Date(rotated.getTime() - 1);
    const leftMs = old.created.getTime() + (old.lifespan ?? 0) - created.getTime();
    return { created, lifespan: Math.min(overlapMs + 1, leftMs) };
  }

  /** Deletes the oldest expired rows: otherwise one login could fill the table with tokens that live for a second. */
  private *deleteSurplus(userId: string, kept: number): TransactionScript<void> {
    const { rows } = yield this.queries.expiredBeyond(userId, this.clock(), kept);
    for (const statement of this.deviceQueries.deleteTokens(this.queries.rowIds(rows))) yield statement;
  }

  private *insert(token: NewToken, emit: Emit): TransactionScript<IssuedToken> {
    const prepared = this.factory.prepare(token);
    yield this.tokenQueries.insert(prepared.row);
    const { userId, deviceId, purpose, name, userAgent } = prepared.row;
    emit('expiring-token.issued', { userId, deviceId, purpose, name, userAgent, via: 'personal' });
    return this.factory.issued(prepared);
  }
}

/** @throws ExpiringTokenException `scope_insufficient` if scopes are more than those that are allowed */
function assertWithin(scopes: string[] | null, allowed: string[] | null): void {
  if (!isWithin(scopes, allowed)) throw new ExpiringTokenException('scope_insufficient', { ...(scopes && { scopes }) });
}
