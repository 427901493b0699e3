import { Injectable, type OnApplicationBootstrap, type OnModuleInit } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { PassportStrategy } from '@nestjs/passport';
import passport from 'passport';
import { Strategy } from 'passport-http-bearer';
import { STRATEGY_NAME } from '../expiring-token.constants.js';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { ExpiringTokenOptionsError } from '../errors/expiring-token-options.error.js';
import type { ExpiringTokenAuthInfo, HttpRequest } from '../transports/http-request.js';
import { RequestAuthenticator } from './request-authenticator.js';

/** Passport keeps one strategy of a name in a process, for however many applications: each request finds its own here. */
const authenticators = new WeakMap<object, RequestAuthenticator>();

/** A request of Express or Fastify, which knows its application. */
type ApplicationRequest = HttpRequest & { app?: object; server?: object };

/**
 * The door for `AuthGuard('expiring-token')` and for chains of strategies. `passport-http-bearer` itself would also take
 * tokens from queries, forms and JSON; nothing but its type is used.
 */
@Injectable()
export class ExpiringTokenStrategy
  extends PassportStrategy(Strategy, STRATEGY_NAME)
  implements OnModuleInit, OnApplicationBootstrap
{
  /** Given by Passport to the copy of the strategy that it makes for each request. */
  declare readonly success: (user: unknown, info: ExpiringTokenAuthInfo) => void;
  declare readonly fail: (challenge: string, status: number) => void;
  declare readonly error: (error: unknown) => void;

  constructor(
    private readonly authenticator: RequestAuthenticator,
    private readonly host: HttpAdapterHost,
  ) {
    super();
  }

  onModuleInit(): void {
    const application: unknown = this.host.httpAdapter?.getInstance();
    if (typeof application === 'object' || typeof application === 'function') {
      authenticators.set(application as object, this.authenticator);
    }
  }

  onApplicationBootstrap(): void {
    const registered = (passport as unknown as { _strategy(name: string): unknown })._strategy(STRATEGY_NAME);
    if (!(registered instanceof ExpiringTokenStrategy)) {
      throw new ExpiringTokenOptionsError(
        'strategy',
        `another Passport strategy, or none, is registered as ${JSON.stringify(STRATEGY_NAME)}`,
        'Give that strategy another name. If there is none, passport is installed twice: install it once.',
      );
    }
  }

  override authenticate(request: unknown): void {
    const { app, server } = request as ApplicationRequest;
    const authenticator = authenticators.get(app ?? server ?? this) ?? this.authenticator;
    authenticator.authenticate(request as HttpRequest).then(
      ({ user, token }) => this.success(user, { token }),
      (error: unknown) => this.refuse(error),
    );
  }

  /** Required by `PassportStrategy`, and not called: {@link authenticate} does all. */
  validate(): never {
    throw new Error('ExpiringTokenStrategy.validate is not used');
  }

  /** A 401 leaves the request to the next strategy of a chain. Passport can give no other status but as an error. */
  private refuse(error: unknown): void {
    if (error instanceof ExpiringTokenException && error.getStatus() === 401) this.fail(error.message, 401);
    else this.error(error);
  }
}
