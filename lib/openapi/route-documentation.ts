import { HttpStatus, Inject, Injectable, RequestMethod, type Type } from '@nestjs/common';
import { MetadataScanner, ModulesContainer, Reflector } from '@nestjs/core';
import { isStated, type Need, needOf, requirementsOf } from '../authentication/handler-requirements.js';
import { errorHeaders } from '../authentication/response-headers.interceptor.js';
import { type ExpiringTokenErrorCode, ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { MODULE_EXTRAS, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { type DescribeFunction, DESCRIPTION, type RouteError } from './describe-route.decorator.js';
import { ErrorModel } from './models.js';
import { type ApiResponse, responseOfPlugin, SWAGGER } from './swagger-metadata.js';

/** The name that `addBearerAuth()` and `@ApiBearerAuth()` give to the scheme, with the scopes that a token needs. */
const bearer = (scopes: readonly string[]) => ({ bearer: scopes });

/** A requirement that is met by every request, whatever the document requires elsewhere. */
const NOTHING = {};

/** The errors of the guard. */
const GUARD_ERRORS: Record<Need, readonly ExpiringTokenErrorCode[]> = {
  required: ['token_missing', 'token_invalid', 'token_expired', 'user_inactive', 'request_invalid', 'unavailable'],
  optional: ['token_invalid', 'token_expired', 'user_inactive', 'request_invalid', 'unavailable'],
  public: [],
};

/** The value of `Retry-After` in the example of a response. */
const EXAMPLE_RETRY_SECONDS = 300;

type Handler = (...parameters: unknown[]) => unknown;

/** A handler, and the controllers that have it: more than one if they inherit it. */
interface Route {
  handler: Handler;
  name: string;
  controllers: Type[];
}

/**
 * Writes the metadata that `@nestjs/swagger` reads, for the routes of the module and for those of the application that are
 * marked. This happens when Nest creates the module: all decorators have run by then, the options are known, and the
 * application creates its document afterwards.
 *
 * The metadata belongs to the handlers, which all applications of a process share: the one that started last is documented,
 * with its own options.
 */
@Injectable()
export class RouteDocumentation {
  constructor(
    modules: ModulesContainer,
    private readonly reflector: Reflector,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(MODULE_EXTRAS) private readonly extras: { globalGuard: boolean },
  ) {
    for (const route of findRoutes(modules)) this.document(route);
  }

  private document({ handler, name, controllers }: Route): void {
    restoreDeclared(handler);
    const needs = new Set(controllers.map((controller) => this.needOf(handler, controller)));
    // Controllers that inherit a handler share its metadata. If they are guarded differently, a token is documented as optional.
    const [need] = needs.size === 1 ? needs : (['optional'] as const);
    if (!need) return;
    if (!this.find(SWAGGER.security, handler, controllers)) {
      const tokens = need === 'public' ? [] : scopeLists(handler, controllers).map(bearer);
      const security = need === 'required' ? tokens : [...tokens, NOTHING];
      Reflect.defineMetadata(SWAGGER.security, security, handler);
    }
    const describe = this.find<DescribeFunction>(DESCRIPTION, handler, controllers);
    const scopes = [...new Set(controllers.flatMap((controller) => requirementsOf(handler, controller).scopes.flat()))];
    if (!describe && scopes.length === 0 && (need === 'public' || !this.extras.globalGuard)) return;
    const description = describe?.(this.options) ?? {};
    const { summary, body, pathParameters = [], headers = {}, response, errors = [], excluded } = description;
    if (summary) Reflect.defineMetadata(SWAGGER.operation, { summary }, handler);
    if (excluded !== undefined) Reflect.defineMetadata(SWAGGER.excluded, { disable: excluded }, handler);
    const parameters = [
      ...pathParameters.map(pathParameter),
      ...Object.entries(headers).map(headerParameter),
      ...(body ? [{ in: 'body', ...body }] : []),
    ];
    if (parameters.length > 0) Reflect.defineMetadata(SWAGGER.parameters, parameters, handler);
    const refusals = this.refusalsOf(
      [...GUARD_ERRORS[need], ...this.permissionErrors(handler, controllers), ...errors],
      scopes,
    );
    const responses = response
      ? { [successStatusOf(handler)]: response, ...refusals }
      : this.withDeclaredResponses(refusals, { handler, name, controllers });
    Reflect.defineMetadata(SWAGGER.responses, responses, handler);
  }

  /** What a handler of a controller needs; undefined if neither decorators nor options say it. */
  private needOf(handler: Handler, controller: Type): Need | undefined {
    const isDocumented =
      this.extras.globalGuard || isStated(handler, controller) || this.find(DESCRIPTION, handler, [controller]);
    return isDocumented ? (needOf(handler, controller) ?? 'required') : undefined;
  }

  /** The errors for a valid token that may not call a handler. */
  private permissionErrors(handler: Handler, controllers: readonly Type[]): ExpiringTokenErrorCode[] {
    const requirements = controllers.map((controller) => requirementsOf(handler, controller));
    const codes: ExpiringTokenErrorCode[] = [];
    if (this.options.personal && requirements.some(({ requiresLogin }) => requiresLogin)) codes.push('login_required');
    if (requirements.some(({ scopes }) => scopes.length > 0)) codes.push('scope_insufficient');
    return codes;
  }

  /** Metadata of a handler, or else of the first controller that has it. */
  private find<T>(key: string, handler: Handler, controllers: readonly Type[]): T | undefined {
    return this.reflector.getAllAndOverride<T | undefined>(key, [handler, ...controllers]);
  }

  /** Adds the responses of a handler of the application. What the application declares itself has precedence. */
  private withDeclaredResponses(refusals: object, { handler, name, controllers }: Route): object {
    const declared: object = Object.assign(
      {},
      ...[...controllers, handler].map((target): unknown => Reflect.getMetadata(SWAGGER.responses, target)),
    );
    const declaresSuccess = Object.keys(declared).some((status) => /^2|default/.test(status));
    const success = declaresSuccess ? {} : { [successStatusOf(handler)]: responseOfPlugin(controllers[0]!, name) };
    return { ...success, ...refusals, ...declared };
  }

  /** Returns the error responses with these codes, by status. */
  private refusalsOf(errors: readonly RouteError[], scopes: readonly string[]): Record<number, ApiResponse> {
    const responses: Record<number, ApiResponse> = {};
    for (const each of new Set(errors)) {
      const [code, message] = typeof each === 'string' ? [each] : each;
      const error = new ExpiringTokenException(code, {
        ...(message !== undefined && { message }),
        statusCode: code === 'token_expired' ? this.options.expiredStatus : undefined,
        retryAfterSeconds: code === 'throttled' ? EXAMPLE_RETRY_SECONDS : undefined,
        scopes: code === 'scope_insufficient' ? scopes : undefined,
      });
      const status = error.getStatus();
      const { description, examples, headers } = responses[status] ?? {};
      const headersOfCode = Object.entries(errorHeaders(error, this.options)).map(([header, example]) => [
        header,
        { schema: { type: 'string', example } },
      ]);
      responses[status] = {
        description: [description, `\`${code}\``].filter(Boolean).join(', '),
        type: ErrorModel,
        examples: { ...examples, [code]: { value: error.getResponse() } },
        headers: { ...headers, ...Object.fromEntries(headersOfCode) },
      };
    }
    return responses;
  }
}

/** The lists of scopes of which a token needs one whole list. Without scopes there is one empty list. */
function scopeLists(handler: Handler, controllers: readonly Type[]): string[][] {
  const lists = controllers.flatMap((controller) =>
    requirementsOf(handler, controller).scopes.reduce<string[][]>(
      (before, alternatives) => before.flatMap((list) => alternatives.map((scope) => [...new Set([...list, scope])])),
      [[]],
    ),
  );
  return [...new Map(lists.map((list) => [list.join(' '), list])).values()];
}

/** The metadata that handlers had before this package wrote any: what the application declares. */
const DECLARED = new WeakMap<Handler, ReadonlyMap<string, unknown>>();

/** Removes what an application that started earlier in this process wrote on a handler. */
function restoreDeclared(handler: Handler): void {
  const keys = Object.values(SWAGGER);
  const declared = DECLARED.get(handler) ?? new Map(keys.map((key) => [key, Reflect.getOwnMetadata(key, handler)]));
  DECLARED.set(handler, declared);
  for (const [key, value] of declared) {
    if (value === undefined) Reflect.deleteMetadata(key, handler);
    else Reflect.defineMetadata(key, value, handler);
  }
}

/** Finds the handlers of all controllers of an application. */
function findRoutes(modules: ModulesContainer): Iterable<Route> {
  const scanner = new MetadataScanner();
  const routes = new Map<Handler, Route>();
  for (const { controllers } of modules.values()) {
    for (const { metatype } of controllers.values()) {
      const controller = metatype as Type;
      for (const name of scanner.getAllMethodNames(controller.prototype)) {
        const handler: Handler = controller.prototype[name];
        if (!Reflect.hasMetadata('method', handler)) continue;
        const route = routes.get(handler) ?? { handler, name, controllers: [] };
        route.controllers.push(controller);
        routes.set(handler, route);
      }
    }
  }
  return routes.values();
}

/** A parameter in the path of a route. */
const pathParameter = (name: string) => ({ in: 'path', name, required: true, schema: { type: 'string' } });

/** A header that a route reads. */
const headerParameter = ([name, description]: [string, string]) => ({
  in: 'header',
  name,
  description,
  required: false,
  schema: { type: 'string' },
});

/** Returns the status of success: that of `@HttpCode()`, or Nest's default. */
function successStatusOf(handler: object): number {
  const isPost = Reflect.getMetadata('method', handler) === RequestMethod.POST;
  return Reflect.getMetadata('__httpCode__', handler) ?? (isPost ? HttpStatus.CREATED : HttpStatus.OK);
}
