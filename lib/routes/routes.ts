import type { Type } from '@nestjs/common';
import { DevicesController } from './devices.controller.js';
import { LoginController, ObtainTokenController } from './login.controller.js';
import { LogoutController } from './logout.controller.js';
import { RefreshController } from './refresh.controller.js';
import { TokenController } from './token.controller.js';

/** A route, or a group of routes, that applications choose by the option `routes`. */
export interface RouteDefinition {
  /** The controller that serves it. */
  controller: Type;
  /** Pattern of the paths that may receive a body, below the option `path`. */
  paths: string;
  /** The option without which the route does not exist. */
  requires?: 'refresh';
}

/** Keeps the names of the routes in the type, and hides their controllers from it: the type is part of the public API. */
const define = <Name extends string>(routes: Record<Name, RouteDefinition>) => routes;

/**
 * All routes of the module, in the order of the documentation. This is the only list of them: the type and the default of the
 * option `routes`, the controllers of the module and the paths of {@link redactBodyParserErrors} are derived from it.
 */
export const ROUTES = define({
  login: { controller: LoginController, paths: 'login' },
  'obtain-token': { controller: ObtainTokenController, paths: 'obtain-token' },
  token: { controller: TokenController, paths: 'token' },
  refresh: { controller: RefreshController, paths: 'refresh', requires: 'refresh' },
  logout: { controller: LogoutController, paths: 'logout(-all)?' },
  devices: { controller: DevicesController, paths: 'devices/[^/]+' },
});

/** A route, or group of routes, that the module can serve. See {@link ExpiringTokenStructuralOptions.routes}. */
export type ExpiringTokenRoute = keyof typeof ROUTES;

/** The names of all routes. */
export const ROUTE_NAMES = Object.keys(ROUTES) as readonly ExpiringTokenRoute[];
