import { Inject, Injectable } from '@nestjs/common';
import { RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import { ExpiringTokenException } from '../expiring-token.exception.js';
import type { ResolvedOptions } from '../expiring-token.resolved-options.js';
import { OpenConnections } from '../sockets/open-connections.js';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import type { Authentication } from '../tokens/token.interfaces.js';
import { AuthenticationLog } from './authentication.log.js';
import { readBearerToken } from './bearer-token.js';
import { Handshake } from './handshake.js';
import type { HttpRequest } from './http-request.js';
import { refuseRefreshToken } from './refresh-token.js';

/** Tells who sent a request. The guard and the Passport strategy are its two doors. */
@Injectable()
export class RequestAuthenticator {
  constructor(
    private readonly tokens: ExpiringTokenService,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    private readonly log: AuthenticationLog,
    private readonly connections: OpenConnections,
  ) {}

  /**
   * @param need - `optional`: a request without a token is let in too
   * @returns null for that one
   * @throws ExpiringTokenException whatever keeps the request out
   */
  async authenticate(request: HttpRequest, need: 'optional'): Promise<Authentication | null>;
  async authenticate(request: HttpRequest): Promise<Authentication>;
  async authenticate(request: HttpRequest, need?: 'optional'): Promise<Authentication | null> {
    refuseRefreshToken(request, this.options);
    const token = readBearerToken(request, this.options.schemes);
    if (token === null) {
      if (need === 'optional') return null;
      throw new ExpiringTokenException('token_missing');
    }
    try {
      const authentication = await this.tokens.authenticate(token);
      if (request instanceof Handshake) this.connections.watch(request.connection, token, authentication.token);
      return authentication;
    } catch (error) {
      this.log.refused(request, error);
      throw error;
    }
  }
}
