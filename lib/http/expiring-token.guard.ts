import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { Opaque } from '../opaque.js';
import { AnswerHeaders } from './answer-headers.interceptor.js';
import { AUTHENTICATION } from './decorators.js';
import type { Authentication } from '../tokens/token.interfaces.js';
import type { Token } from '../tokens/token.entity.js';
import type { ExpiringTokenAuthInfo, HttpRequest } from './http-request.js';
import { RequestAuthenticator } from './request-authenticator.js';

/** On a request that a guard has let pass already: where it stands on the application and on the route, it asks once. */
class Passed implements ExpiringTokenAuthInfo {
  constructor(readonly token: Token) {}
}

/**
 * Lets a request pass that presents a live token of an active user. Sets `request.user` to the user and
 * `request.authInfo.token` to the token's row.
 *
 * Refusals are {@link ExpiringTokenException}s with the challenge that RFC 6750 §3 asks for. A subclass gets what it needs
 * by property injection, and leaves the constructor alone.
 *
 * @example
 * ```ts
 * @UseGuards(ExpiringTokenGuard)
 * @Controller('notes')
 * export class NotesController {}
 * ```
 */
@Opaque()
@Injectable()
export class ExpiringTokenGuard implements CanActivate {
  /** @internal Nest makes it. */
  constructor(
    private readonly authenticator: RequestAuthenticator,
    private readonly headers: AnswerHeaders,
    private readonly reflector: Reflector,
  ) {}

  /** Lets the request pass, or throws an {@link ExpiringTokenException}. */
  async canActivate(context: ExecutionContext): Promise<boolean> {
    const need = this.getNeed(context);
    if (need === 'public') return true;
    const request = this.getRequest(context);
    if (request.authInfo instanceof Passed) return true;
    try {
      const authentication: Authentication | null =
        need === 'optional'
          ? await this.authenticator.authenticate(request, need)
          : await this.authenticator.authenticate(request);
      request.user = authentication?.user ?? null;
      request.authInfo = authentication ? new Passed(authentication.token) : undefined;
      return true;
    } catch (error) {
      if (context.getType() === 'http') this.headers.ofError(error, context.switchToHttp().getResponse());
      throw error;
    }
  }

  /** What the route or its controller asks for, the route first. */
  protected getNeed(context: ExecutionContext): 'public' | 'optional' | undefined {
    return this.reflector.getAllAndOverride(AUTHENTICATION, [context.getHandler(), context.getClass()]);
  }

  /** The request to authenticate. Override it for a context that is not HTTP. */
  protected getRequest(context: ExecutionContext): HttpRequest {
    if (context.getType() !== 'http') {
      throw new Error(`ExpiringTokenGuard: ${context.getType()} is not supported. Override getRequest for it.`);
    }
    return context.switchToHttp().getRequest();
  }
}
