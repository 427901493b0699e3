import type { Authentication } from '../token.interfaces.js';
import type { Token } from '../token.entity.js';
import type { CheckedColumns } from '../token.queries.js';

/** How a row that was found is read. Each call makes a new object, so that requests do not share one. */
interface RowReader {
  readToken(): Token;
  /** Returns the user of the row, or null. A user that was looked up separately is the same object each time. */
  readUser(): unknown;
}

/**
 * A presented token that exists, and its user, which may be missing or inactive. The entity is made from the row when something
 * reads it: most handlers need only the user.
 */
export class FoundToken implements Authentication {
  readonly user: unknown;
  private entity?: Token;

  /** @param columns - what of the row decides whether the token is accepted. Requests share it */
  constructor(
    readonly columns: CheckedColumns,
    private readonly row: RowReader,
  ) {
    this.user = row.readUser();
  }

  get token(): Token {
    this.entity ??= this.makeEntity();
    return this.entity;
  }

  /** Returns copies for another request. */
  clone(columns = this.columns): FoundToken {
    return new FoundToken(columns, this.row);
  }

  private makeEntity(): Token {
    const { lastUsedAt } = this.columns;
    // A cached token may have been used after its row was read.
    return Object.assign(this.row.readToken(), { lastUsedAt: lastUsedAt && new Date(lastUsedAt) });
  }
}
