import { Inject, Injectable } from '@nestjs/common';
import { uuidV7 } from '../database/uuid-v7.js';
import { CLOCK, type Clock, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { deriveToken, digestToken, generateToken, matchesDigest } from './secret/token-secret.js';
import { rulesOf, type TokenPurpose } from './token-purpose.js';
import type { IssuedToken } from './token.interfaces.js';
import { type DeviceColumns, TokenQueries, type TokenRow } from './token.queries.js';

/** The columns of a new token, but for those that {@link TokenFactory} chooses. */
export type NewToken = Omit<DeviceColumns, 'deviceId'> &
  Partial<Pick<DeviceColumns, 'deviceId'>> &
  Pick<TokenRow, 'created' | 'purpose'> &
  Partial<Pick<TokenRow, 'lifespan' | 'lastUsedAt' | 'address'>>;

/** A new token before it is inserted. */
export interface PreparedToken {
  readonly plainText: string;
  readonly row: TokenRow;
}

/** Makes the values of new tokens: random ones, and those that are derived from the option `secret`. */
@Injectable()
export class TokenFactory {
  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly queries: TokenQueries,
  ) {}

  /** A new token with its row. Without a `deviceId`, it has that of its own id. */
  prepare(token: NewToken): PreparedToken {
    const id = uuidV7(this.clock());
    const plainText = this.derive(token.purpose, id) ?? generateToken(this.prefixOf(token.purpose), id);
    const digest = digestToken(plainText);
    const row = { deviceId: id, lifespan: null, lastUsedAt: null, address: null, ...token, id, digest };
    return { plainText, row };
  }

  /** A prepared token after its row was inserted. */
  issued({ plainText, row }: PreparedToken): IssuedToken {
    return { plainText, token: this.queries.tokenOf(row) };
  }

  /**
   * The plain text of a stored token, derived again; null if the current secret did not make it. A token of an earlier secret
   * is not revealed, so that it is replaced: whoever knows that secret can compute it.
   */
  reveal(purpose: TokenPurpose, id: string, digest: Buffer): string | null {
    const derived = this.derive(purpose, id);
    return derived !== null && matchesDigest(derived, digest) ? derived : null;
  }

  /** The prefix tells what kind of token it is, without a query. */
  private prefixOf(purpose: TokenPurpose): string {
    const { personal, prefix } = this.options;
    return personal && rulesOf(purpose)?.isPersonal ? personal.prefix : prefix;
  }

  /** The token that the first secret yields for a row; null without a secret, or if tokens of the purpose are random. */
  private derive(purpose: TokenPurpose, id: string): string | null {
    const [secret] = this.options.secrets;
    return rulesOf(purpose)?.isDerived && secret ? deriveToken(this.options.prefix, id, secret) : null;
  }
}
