import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { PassportStrategy } from '@nestjs/passport';
import passport from 'passport';
import { Strategy } from 'passport-http-bearer';
import { ExpiringTokenOptionsError } from '../errors/expiring-token-options.error.js';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { STRATEGY_NAME } from '../expiring-token.constants.js';
import type { Authentication } from '../tokens/token.interfaces.js';
import type { ExpiringTokenAuthInfo, HttpRequest } from '../transports/http-request.js';
import { ownerOf } from './request-owner.js';

/**
 * Authenticates requests for `AuthGuard('expiring-token')`, alone or in a chain of strategies. It overrides the whole
 * `authenticate` of `passport-http-bearer`, because that would also accept tokens in a query, a form or JSON. Each request is
 * authenticated by the application that it reached, whichever application registered the strategy last.
 */
@Injectable()
export class ExpiringTokenStrategy extends PassportStrategy(Strategy, STRATEGY_NAME) implements OnApplicationBootstrap {
  /** Passport adds these three methods to the copy of the strategy that it creates for each request. */
  declare readonly success: (user: unknown, info: ExpiringTokenAuthInfo) => void;
  declare readonly fail: (challenge: string, status: number) => void;
  declare readonly error: (error: unknown) => void;

  onApplicationBootstrap(): void {
    const registered = (passport as unknown as { _strategy(name: string): unknown })._strategy(STRATEGY_NAME);
    if (!(registered instanceof ExpiringTokenStrategy)) {
      throw new ExpiringTokenOptionsError(
        'strategy',
        `another Passport strategy, or none, is registered as ${JSON.stringify(STRATEGY_NAME)}`,
        'Give the other strategy a different name. If there is no other one, passport is installed twice: install it once.',
      );
    }
  }

  override authenticate(request: unknown): void {
    this.authenticateByOwner(request as HttpRequest).then(
      ({ user, token }) => this.success(user, { token }),
      (error: unknown) => this.reject(error),
    );
  }

  private async authenticateByOwner(request: HttpRequest): Promise<Authentication> {
    return ownerOf(request).authenticate(request);
  }

  /** `PassportStrategy` requires this method. It is never called, because {@link authenticate} does not call it. */
  validate(): never {
    throw new Error('ExpiringTokenStrategy.validate is not used');
  }

  /**
   * A 401 fails, and the next strategy of a chain can accept the request. Passport can answer with another status only if
   * the strategy reports an error, which ends the chain.
   */
  private reject(error: unknown): void {
    if (error instanceof ExpiringTokenException && error.getStatus() === 401) this.fail(error.message, 401);
    else this.error(error);
  }
}
