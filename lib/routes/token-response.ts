import { Injectable } from '@nestjs/common';
import { secondsUntil, TokenValidity } from '../tokens/token-lifetime.js';
import type { LoggedIn } from '../tokens/token.interfaces.js';

/** The JSON that gives a client its new tokens (after RFC 6749 §5.1). */
export interface TokenResponse {
  token: string;
  tokenType: 'Bearer';
  /** Whole seconds; null for a token that never expires. */
  expiresIn: number | null;
  expiresAt: Date | null;
  deviceId: string;
  /** Only with a refresh token, as are the members below. */
  refreshToken?: string;
  /** As `expiresIn`, for the refresh token. */
  refreshExpiresIn?: number | null;
  /** As `expiresAt`, for the refresh token. */
  refreshExpiresAt?: Date | null;
}

/** Creates the responses of all routes that give a client tokens. */
@Injectable()
export class TokenResponses {
  constructor(private readonly validity: TokenValidity) {}

  /**
   * @param issuedSince - the time before the tokens were requested. Remaining seconds are counted from it, or from the creation
   * of a token that was created later: a client that asks for an hour should read 3600, however long the database took
   */
  create({ access, refresh }: LoggedIn, issuedSince: number): TokenResponse {
    const from = Math.max(issuedSince, access.token.created.getTime());
    const expiresAt = this.validity.expiryOf(access.token);
    const response: TokenResponse = {
      token: access.plainText,
      tokenType: 'Bearer',
      expiresIn: secondsUntil(expiresAt, from),
      expiresAt,
      deviceId: access.token.deviceId,
    };
    if (!refresh) return response;
    const refreshExpiresAt = this.validity.expiryOf(refresh.token);
    return {
      ...response,
      refreshToken: refresh.plainText,
      refreshExpiresIn: secondsUntil(refreshExpiresAt, from),
      refreshExpiresAt,
    };
  }
}
