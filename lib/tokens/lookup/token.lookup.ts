import { Inject, Injectable } from '@nestjs/common';
import { BatchLoader } from '../../async/batch-loader.js';
import { withTimeout } from '../../async/with-timeout.js';
import type { Row } from '../../database/database.js';
import { describeError } from '../../errors/describe-error.js';
import { PackageLogger } from '../../errors/package.logger.js';
import { classifyDriverError } from '../../errors/driver-errors.js';
import { RESOLVED_OPTIONS, USER_STORE } from '../../expiring-token.constants.js';
import type { ResolvedOptions } from '../../options/resolve-options.js';
import { type JoinableUserStore, USER_JOIN, type UserJoin, type UserStore } from '../../users/user-store.js';
import { type Identity, matchesDigest } from '../secret/token-secret.js';
import { rulesOf } from '../token-purpose.js';
import type { Token } from '../token.entity.js';
import { TokenQueries } from '../token.queries.js';
import { TokenStore } from '../token.store.js';

/** Maximum number of tokens in one statement. While SQLite runs a statement, it blocks all other requests. */
const MAX_BATCH_SIZE = 256;

/** A presented token that exists, and its user, which may be missing or inactive. */
export interface TokenWithUser {
  token: Token;
  user: unknown;
  /** Returns copies for another request, so that requests do not share objects. A user that was looked up separately is shared. */
  clone(): TokenWithUser;
}

/** A token with its user, or with the time until which the user must be found. */
type Found = TokenWithUser | { readonly readToken: () => Token; untilMs: number };

/**
 * Looks up tokens that authenticate, and their users, always in the database. The tokens of all requests that arrive in one
 * turn of the event loop are found with one statement, or with a few in a busy turn; so are the users, if they are in a table
 * of this package or of {@link typeOrmUsers}.
 */
@Injectable()
export class TokenLookup {
  private readonly logger = new PackageLogger();
  private readonly tokens: BatchLoader<Identity, Found | null>;
  private readonly batchedUsers: BatchLoader<string, unknown>;
  private canJoin = true;

  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(USER_STORE) private readonly users: UserStore & Partial<JoinableUserStore>,
    private readonly store: TokenStore,
    private readonly queries: TokenQueries,
  ) {
    const loadTokens = (identities: readonly Identity[]) =>
      withTimeout(this.options.timeoutMs, (signal) => this.loadTokens(identities, signal));
    this.tokens = new BatchLoader(loadTokens, MAX_BATCH_SIZE);
    this.batchedUsers = new BatchLoader((ids) => this.loadUsers(ids), MAX_BATCH_SIZE);
  }

  /** @returns null if there is no such token */
  async find(identity: Identity): Promise<TokenWithUser | null> {
    const found = await this.tokens.load(identity);
    if (!found || !('untilMs' in found)) return found;
    const { readToken, untilMs } = found;
    const leftMs = Math.ceil(untilMs - performance.now());
    const user = await withTimeout(leftMs, () => this.findUser(readToken().userId));
    const clone = (): TokenWithUser => ({ token: readToken(), user, clone });
    return clone();
  }

  private async loadTokens(
    identities: readonly Identity[],
    signal: AbortSignal,
  ): Promise<(identity: Identity) => Found | null> {
    const ids = [...new Set(identities.map(({ id }) => id))];
    const untilMs = performance.now() + this.options.timeoutMs;
    const { rows, join } = await this.read(ids, signal);
    const rowsById = new Map(rows.map((row) => [this.queries.idIn(row), row]));
    return ({ id, digested }) => {
      const row = rowsById.get(id);
      if (!row) return null;
      const readToken = () => this.queries.tokenIn(row);
      const token = readToken();
      const isFound = rulesOf(token.purpose)?.authenticates && matchesDigest(digested, this.queries.digestIn(row));
      if (!isFound) return null;
      if (!join) return { readToken, untilMs };
      const { userId } = token;
      const clone = (): TokenWithUser => ({ token: readToken(), user: join.read(row, userId), clone });
      return { token, user: join.read(row, userId), clone };
    };
  }

  /** Reads rows together with their users if one statement can find both. */
  private async read(ids: readonly string[], signal: AbortSignal): Promise<{ rows: Row[]; join: UserJoin | null }> {
    const read = async (join: UserJoin | null) => ({ rows: await this.store.readWithUsers(ids, join, signal), join });
    const join = (this.canJoin && this.users[USER_JOIN]?.(this.queries.userIdColumn)) || null;
    try {
      return await read(join);
    } catch (error) {
      if (!join || !['comparison', 'value'].includes(classifyDriverError(error))) throw error;
      // The column in the database has another type than the entity says.
      this.logger.warn(
        `Users are looked up separately from their tokens, which takes twice as long: ${describeError(error)}`,
      );
      this.canJoin = false;
      return read(null);
    }
  }

  private async findUser(id: string): Promise<unknown> {
    return this.users.findByIds ? this.batchedUsers.load(id) : this.users.findById(id);
  }

  private async loadUsers(ids: readonly string[]): Promise<(id: string) => unknown> {
    const findById = (id: string) => this.users.findById(id);
    const distinct = [...new Set(ids)];
    if (distinct.length === 1) return findById;
    try {
      const found = await this.users.findByIds!(distinct);
      const usersById = new Map(found.map((user) => [this.users.getId(user), user]));
      return (id) => usersById.get(id) ?? null;
    } catch {
      // Perhaps the query failed because of one id. Then the other users are still found.
      return findById;
    }
  }
}
