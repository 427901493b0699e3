import { Inject, Injectable } from '@nestjs/common';
import { CLOCK, type Clock } from '../expiring-token.constants.js';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import type { LoggedIn } from '../tokens/token.interfaces.js';
import { secondsUntil } from '../tokens/token-lifetime.js';

/** What a client is told of the tokens that it may use from now on (after RFC 6749 §5.1). */
export interface TokenResponse {
  token: string;
  tokenType: 'Bearer';
  /** Whole seconds; null for a token that never expires. */
  expiresIn: number | null;
  expiresAt: Date | null;
  deviceId: string;
  /** With a refresh token: the token, and what `expiresIn` and `expiresAt` are for it. */
  refreshToken?: string;
  refreshExpiresIn?: number | null;
  refreshExpiresAt?: Date | null;
}

/** Answers all ways to a token alike. */
@Injectable()
export class TokenResponses {
  constructor(
    private readonly tokens: ExpiringTokenService,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  /** @param asked - gets the tokens; the seconds that they still have are counted from the moment before, or from their creation */
  async respond(asked: () => Promise<LoggedIn>): Promise<TokenResponse> {
    const before = this.clock();
    const { access, refresh } = await asked();
    const now = Math.max(before, access.token.created.getTime());
    const expiresAt = this.tokens.expiryOf(access.token);
    const refreshExpiresAt = refresh && this.tokens.expiryOf(refresh.token);
    return {
      token: access.plainText,
      tokenType: 'Bearer',
      expiresIn: secondsUntil(expiresAt, now),
      expiresAt,
      deviceId: access.token.deviceId,
      ...(refresh && {
        refreshToken: refresh.plainText,
        refreshExpiresIn: secondsUntil(refreshExpiresAt, now),
        refreshExpiresAt,
      }),
    };
  }
}
