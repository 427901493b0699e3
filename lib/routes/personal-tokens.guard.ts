import { type CanActivate, type ExecutionContext, Inject, Injectable, NotFoundException } from '@nestjs/common';
import { RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import type { HttpRequest } from '../transports/http-request.js';

/**
 * Answers 404 without the option `personal`. The options of `forRootAsync` are not known when the module chooses its controllers,
 * so the routes may exist without it.
 */
@Injectable()
export class PersonalTokensGuard implements CanActivate {
  constructor(@Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions) {}

  canActivate(context: ExecutionContext): boolean {
    if (this.options.personal) return true;
    const { method, originalUrl, url } = context.switchToHttp().getRequest<HttpRequest & { method: string }>();
    throw new NotFoundException(`Cannot ${method} ${originalUrl ?? url}`);
  }
}
