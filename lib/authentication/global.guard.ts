import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { ExpiringTokenGuard } from './expiring-token.guard.js';

/**
 * The guard of all routes, for the option `globalGuard`.
 *
 * It does not inject `ExpiringTokenGuard`, and so always exists: some versions of Nest skip a global guard that they cannot
 * create without a request, and then all routes are open.
 */
@Injectable()
export class GlobalGuard implements CanActivate {
  private guard?: ExpiringTokenGuard;

  constructor(private readonly module: ModuleRef) {}

  canActivate(context: ExecutionContext): Promise<boolean> {
    const guard = (this.guard ??= this.module.get(ExpiringTokenGuard));
    return guard.canActivate(context);
  }
}
