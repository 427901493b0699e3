import { Inject, Injectable, Logger } from '@nestjs/common';
import { BatchLoader } from '../async/batch-loader.js';
import type { Database, Row } from '../database/database.js';
import { classifyDriverError } from '../errors/driver-errors.js';
import { withTimeout } from '../async/with-timeout.js';
import { DATABASE, RESOLVED_OPTIONS, USER_STORE } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { describeError } from '../errors/describe-error.js';
import { type Identity, matchesDigest } from './secret/token-secret.js';
import type { Token, TokenPurpose } from './token.entity.js';
import { TokenStore } from './token.store.js';
import { type JoinableUserStore, USER_JOIN, type UserJoin, type UserStore } from '../users/user-store.js';

/** The tokens that a request is authenticated by. */
const ACCESS: readonly TokenPurpose[] = ['access', 'obtained'];

/** Tokens that one statement looks for, at most: SQLite keeps all others waiting meanwhile. */
const MAX_BATCH_SIZE = 256;

/** A presented token that is there, and its user, whom the store may let in or not. */
export interface TokenWithUser {
  token: Token;
  user: unknown;
  /** The same once more, for another request: as objects of its own, but for a user who was looked up apart. */
  clone(): TokenWithUser;
}

/** A token with its user, or with the time until which that one is to be found. */
type Found = TokenWithUser | { readonly readToken: () => Token; untilMs: number };

/**
 * Looks up access tokens and their users, always in the database: those of all requests that arrive in one turn of the event
 * loop with one statement, or a few in a busy one; the users too where they are in tables of this package or of
 * {@link typeOrmUsers}.
 */
@Injectable()
export class TokenLookup {
  private readonly logger = new Logger('ExpiringToken');
  private readonly tokens: BatchLoader<Identity, Found | null>;
  private readonly batchedUsers: BatchLoader<string, unknown>;
  private joins = true;

  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(USER_STORE) private readonly users: UserStore & Partial<JoinableUserStore>,
    @Inject(DATABASE) private readonly database: Database,
    private readonly store: TokenStore,
  ) {
    const ask = (identities: readonly Identity[]) =>
      withTimeout(this.options.timeoutMs, (signal) => this.askForTokens(identities, signal));
    this.tokens = new BatchLoader(ask, MAX_BATCH_SIZE);
    this.batchedUsers = new BatchLoader((ids) => this.askForUsers(ids), MAX_BATCH_SIZE);
  }

  /** @returns null when there is no such token */
  async find(identity: Identity): Promise<TokenWithUser | null> {
    const found = await this.tokens.load(identity);
    if (!found || !('untilMs' in found)) return found;
    const { readToken, untilMs } = found;
    const leftMs = Math.ceil(untilMs - performance.now());
    const user = await withTimeout(leftMs, () => this.findUser(readToken().userId));
    const clone = (): TokenWithUser => ({ token: readToken(), user, clone });
    return clone();
  }

  private async askForTokens(
    identities: readonly Identity[],
    signal: AbortSignal,
  ): Promise<(identity: Identity) => Found | null> {
    const ids = [...new Set(identities.map(({ id }) => id))];
    const untilMs = performance.now() + this.options.timeoutMs;
    const { rows, join } = await this.read(ids, signal);
    const rowsById = new Map(rows.map((row) => [this.store.foundId(row), row]));
    return ({ id, digested }) => {
      const row = rowsById.get(id);
      if (!row) return null;
      const readToken = () => this.store.foundToken(row);
      const token = readToken();
      if (!ACCESS.includes(token.purpose) || !matchesDigest(digested, this.store.foundDigest(row))) return null;
      if (!join) return { readToken, untilMs };
      const { userId } = token;
      const clone = (): TokenWithUser => ({ token: readToken(), user: join.read(row, userId), clone });
      return { token, user: join.read(row, userId), clone };
    };
  }

  /** With the users where they can be had at once. */
  private async read(ids: readonly string[], signal: AbortSignal): Promise<{ rows: Row[]; join: UserJoin | null }> {
    const read = async (join: UserJoin | null) => ({
      rows: await this.database.read(this.store.lookUp(ids, join), signal),
      join,
    });
    const join = (this.joins && this.users[USER_JOIN]?.(this.store.userId)) || null;
    try {
      return await read(join);
    } catch (error) {
      if (!join || !['comparison', 'value'].includes(classifyDriverError(error))) throw error;
      // The column in the database is another than the entity says.
      this.logger.warn(
        `Users are looked up apart from their tokens, which takes twice as long: ${describeError(error)}`,
      );
      this.joins = false;
      return read(null);
    }
  }

  private async findUser(id: string): Promise<unknown> {
    return this.users.findByIds ? this.batchedUsers.load(id) : this.users.findById(id);
  }

  private async askForUsers(ids: readonly string[]): Promise<(id: string) => unknown> {
    const findById = (id: string) => this.users.findById(id);
    const distinct = [...new Set(ids)];
    if (distinct.length === 1) return findById;
    try {
      const found = await this.users.findByIds!(distinct);
      const usersById = new Map(found.map((user) => [this.users.getId(user), user]));
      return (id) => usersById.get(id) ?? null;
    } catch {
      // It may be one of them that cannot be asked for.
      return findById;
    }
  }
}
