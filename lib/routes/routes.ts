import { Controller, type Type } from '@nestjs/common';
import { DevicesController } from './devices.controller.js';
import { LoginController, ObtainTokenController } from './login.controller.js';
import { LogoutController } from './logout.controller.js';
import { PersonalTokensController } from './personal-tokens.controller.js';
import { RefreshController } from './refresh.controller.js';
import { TokenController } from './token.controller.js';

/** A route, or a group of routes, that applications choose by the option `routes`. */
export interface RouteDefinition {
  /** The controller that serves it. */
  controller: Type;
  /** The option without which the route does not exist. */
  requires?: 'refresh' | 'personal';
}

/** Keeps the names of the routes in the type, and hides their controllers from it: the type is part of the public API. */
const define = <Name extends string>(routes: Record<Name, RouteDefinition>) => routes;

/**
 * All routes of the module, in the order of the documentation. This is the only list of them: the type and the default of the
 * option `routes` and the controllers of the module are derived from it.
 */
export const ROUTES = define({
  login: { controller: LoginController },
  'obtain-token': { controller: ObtainTokenController },
  token: { controller: TokenController },
  refresh: { controller: RefreshController, requires: 'refresh' },
  logout: { controller: LogoutController },
  devices: { controller: DevicesController },
  tokens: { controller: PersonalTokensController, requires: 'personal' },
});

/** A route, or group of routes, that the module can serve. See {@link ExpiringTokenStructuralOptions.routes}. */
export type ExpiringTokenRoute = keyof typeof ROUTES;

/** The names of all routes. */
export const ROUTE_NAMES = Object.keys(ROUTES) as readonly ExpiringTokenRoute[];

/**
 * Returns the controllers of some routes, below a path. Each call creates classes of its own, because Nest reads the path of a
 * controller from its class.
 */
export const createControllers = (path: string, routes: readonly ExpiringTokenRoute[]): Type[] =>
  routes.map((route) => controllerAt(path, ROUTES[route].controller));

function controllerAt(path: string, base: Type): Type {
  // The name of the class is in log lines and in the operation ids of OpenAPI.
  const { [base.name]: controller } = { [base.name]: class extends base {} };
  Controller(`${path}/${Reflect.getMetadata('path', base)}`.replaceAll(/\/+/g, '/'))(controller!);
  return controller!;
}
