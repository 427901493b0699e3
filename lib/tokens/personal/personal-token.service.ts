import { Inject, Injectable } from '@nestjs/common';
import ms from 'ms';
import { isUuid } from '../../database/uuid-v7.js';
import { ExpiringTokenException } from '../../errors/expiring-token.exception.js';
import { HideFromInspect } from '../../errors/hide-from-inspect.decorator.js';
import { orUnavailable } from '../../errors/service-unavailable.js';
import { RESOLVED_OPTIONS } from '../../expiring-token.constants.js';
import { type DurationRange, parseDuration, parseLifetime } from '../../options/duration.js';
import { rejectOption } from '../../options/option-checks.js';
import type { ResolvedOptions } from '../../options/resolve-options.js';
import { parseScopes } from '../../options/scopes.js';
import { checkUserId } from '../../users/user-id.js';
import { sanitizeLabel } from '../device.js';
import { TokenValidity } from '../token-lifetime.js';
import type { Token } from '../token.entity.js';
import type { ChangeOptions, IssuedToken } from '../token.interfaces.js';
import { TokenStore } from '../token.store.js';
import { type UserScript, UserTransactions } from '../transactions/user.transactions.js';
import {
  type PersonalToken,
  type PersonalTokenOptions,
  type RotateOptions,
  toPersonalToken,
} from './personal-token.js';
import { PersonalTokenTransactions } from './personal-token.transactions.js';

/** For how long a rotated secret may stay valid. */
export const OVERLAP_RANGE: DurationRange = { min: 0, max: ms('7d'), description: 'from 0 to 7 days' };

/**
 * Issues and manages personal access tokens: the named, long-lived tokens that users make for scripts and machines. They are no
 * devices: a changed password, `logout-all` and the option `limit` do not end them. It needs the option `personal`.
 *
 * Every method may throw {@link ExpiringTokenException} `unavailable`, and `throttled` if more than ten changes wait that the
 * token `by` requested. Every method throws `TypeError` if the user id cannot be one.
 */
@HideFromInspect()
@Injectable()
export class PersonalTokenService {
  /** @internal Nest calls it. */
  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    private readonly scripts: PersonalTokenTransactions,
    private readonly transactions: UserTransactions,
    private readonly store: TokenStore,
    private readonly validity: TokenValidity,
  ) {}

  /**
   * Issues a personal token.
   *
   * @param userId - what `UserStore.getId` returns for the user; the user is not looked up
   * @param options - `by`: the token of the request, which must be valid and allow at least what the new one allows
   * @returns the token, whose value can be shown only now; its `token.deviceId` is the id of the personal token
   * @throws ExpiringTokenOptionsError for an invalid lifespan, or one above `personal.longest`, and for a scope that the option
   * `scopes` does not contain
   * @throws ExpiringTokenException `limit_reached` if the user has `personal.perUser` of them; `validation_failed` for a name
   * without visible characters; `token_invalid`, `login_required` or `scope_insufficient` because of `by`
   * @throws Error without the option `personal`
   * @example
   * ```ts
   * const { plainText } = await personalTokens.issue(user.id, { name: 'nightly export', lifespan: '30d' });
   * ```
   */
  async issue(userId: string, { name, scopes, lifespan, by }: PersonalTokenOptions): Promise<IssuedToken> {
    checkUserId(userId);
    const { lifespanMs: defaultMs } = this.settings;
    const lifespanMs = lifespan === undefined ? defaultMs : this.parseLifespan(lifespan);
    const token = { name: checkName(name), scopes: parseScopes(scopes, this.options.scopes), lifespanMs };
    return this.run(userId, (emit) => this.scripts.issue(userId, token, by, emit), by);
  }

  /** Returns the live personal tokens of a user, newest first. */
  async list(userId: string): Promise<PersonalToken[]> {
    checkUserId(userId);
    const tokens = await orUnavailable(() => this.store.personalTokens(userId));
    return tokens.map((token) => this.shown(token));
  }

  /**
   * Renames a personal token.
   *
   * @param id - its id in the list
   * @param options - `by`: the token that requests the change
   * @throws ExpiringTokenException `token_not_found`; `validation_failed` for a name without visible characters
   */
  async rename(userId: string, id: string, name: string, { by }: ChangeOptions = {}): Promise<PersonalToken> {
    checkUserId(userId);
    const clean = checkName(name);
    checkId(id);
    return this.shown(await this.run(userId, () => this.scripts.rename(userId, id, clean), by));
  }

  /**
   * Gives a personal token another secret. Its id, name, scopes and length of life stay; its life starts again, and is at most
   * `personal.longest`.
   *
   * @param id - its id in the list
   * @param options - `overlap`: how long the earlier secret stays valid; `by`: the token of the request, as for {@link issue}
   * @returns as {@link issue}
   * @throws ExpiringTokenOptionsError for an overlap of more than 7 days, or a number below 1,000: its author means seconds
   * @throws ExpiringTokenException `token_not_found`; `token_invalid`, `login_required` or `scope_insufficient` because of `by`
   * @throws Error without the option `personal`
   */
  async rotate(userId: string, id: string, { overlap = 0, by }: RotateOptions = {}): Promise<IssuedToken> {
    checkUserId(userId);
    void this.settings;
    const overlapMs = parseLifetime('overlap', overlap, { range: OVERLAP_RANGE });
    checkId(id);
    return this.run(userId, (emit) => this.scripts.rotate(userId, id, overlapMs, by, emit), by);
  }

  /**
   * Revokes a personal token: it is rejected from now on, and so is a secret that a rotation left valid.
   *
   * @param id - its id in the list
   * @param options - `by`: the token that requests the revocation
   * @returns whether the user had a live personal token with this id
   */
  async revoke(userId: string, id: string, { by }: ChangeOptions = {}): Promise<boolean> {
    checkUserId(userId);
    if (!isUuid(id) || !(await this.store.hasPersonalToken(userId, id))) return false;
    return this.transactions.run(userId, (emit) => this.scripts.revoke(userId, id, emit), {
      isRevocation: true,
      by: by?.id,
    });
  }

  private get settings() {
    const { personal } = this.options;
    if (!personal) throw new Error('PersonalTokenService needs the option personal');
    return personal;
  }

  private parseLifespan(lifespan: unknown): number {
    const lifespanMs = parseDuration('lifespan', lifespan, { never: true });
    const { longestMs } = this.settings;
    return lifespanMs <= longestMs ? lifespanMs : rejectOption('lifespan', lifespan, 'Give at most personal.longest.');
  }

  private run<T>(userId: string, script: UserScript<T>, by: Token | undefined): Promise<T> {
    return this.transactions.run(userId, script, { by: by?.id, unstorable });
  }

  private shown(token: Token): PersonalToken {
    return toPersonalToken(token, this.validity.expiryOf(token));
  }
}

function checkName(name: unknown): string {
  const clean = typeof name === 'string' ? sanitizeLabel(name) : null;
  if (clean !== null) return clean;
  throw new ExpiringTokenException('validation_failed', { message: 'name must be a string with visible characters' });
}

function checkId(id: unknown): asserts id is string {
  if (!isUuid(id)) throw new ExpiringTokenException('token_not_found');
}

const unstorable = () =>
  new ExpiringTokenException('validation_failed', {
    message: 'name contains a character that the database cannot store',
  });
