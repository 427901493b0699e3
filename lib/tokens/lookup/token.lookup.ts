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
import { type CheckedColumns, TokenQueries } from '../token.queries.js';
import { TokenStore } from '../token.store.js';
import { FoundToken } from './found-token.js';

/** Maximum number of tokens in one statement. While SQLite runs a statement, it blocks all other requests. */
const MAX_BATCH_SIZE = 256;

/** A token whose user must be found separately. */
interface WithoutUser {
  readonly columns: CheckedColumns;
  readonly readToken: () => Token;
  /** The end of the time limit, by `performance.now()`. */
  readonly untilMs: number;
}

/**
 * Looks up tokens that authenticate, and their users, always in the database. The tokens of all requests that arrive in one
 * turn of the event loop are found with one statement, or with a few in a busy turn; so are the users, if they are in a table
 * of this package or of {@link typeOrmUsers}.
 */
@Injectable()
export class TokenLookup {
  private readonly logger = new PackageLogger();
  private readonly tokens: BatchLoader<Identity, FoundToken | WithoutUser | null>;
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
  async find(identity: Identity): Promise<FoundToken | null> {
    const found = await this.tokens.load(identity);
    // Here and not in the batch: the store may need the asynchronous context of the request, for example its tenant.
    return found && 'untilMs' in found ? this.findSeparateUser(found) : found;
  }

  private async loadTokens(
    identities: readonly Identity[],
    signal: AbortSignal,
  ): Promise<(identity: Identity) => FoundToken | WithoutUser | null> {
    const ids = [...new Set(identities.map(({ id }) => id))];
    const untilMs = performance.now() + this.options.timeoutMs;
    const { rows, join } = await this.read(ids, signal);
    const rowsById = new Map(rows.map((row) => [this.queries.idIn(row), row]));
    return ({ id, digested }) => {
      const row = rowsById.get(id);
      if (!row) return null;
      const columns = this.queries.checkedColumnsIn(row);
      const isFound = rulesOf(columns.purpose)?.authenticates && matchesDigest(digested, this.queries.digestIn(row));
      if (!isFound) return null;
      const readToken = () => this.queries.tokenIn(row);
      if (!join) return { columns, readToken, untilMs };
      return new FoundToken(columns, { readToken, readUser: () => join.read(row, columns.userId) });
    };
  }

  private async findSeparateUser({ columns, readToken, untilMs }: WithoutUser): Promise<FoundToken> {
    const leftMs = Math.ceil(untilMs - performance.now());
    const user = await withTimeout(leftMs, () => this.findUser(columns.userId));
    return new FoundToken(columns, { readToken, readUser: () => user });
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
