import { HttpStatus, Inject, Injectable, RequestMethod, SetMetadata, type Type } from '@nestjs/common';
import { MetadataScanner, ModulesContainer, Reflector } from '@nestjs/core';
import { RESOLVED_OPTIONS, MODULE_EXTRAS } from '../expiring-token.constants.js';
import { type ExpiringTokenErrorCode, ExpiringTokenException } from '../errors/expiring-token.exception.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import type { ResolvedModuleOptions } from '../expiring-token.module-options.js';
import { errorHeaders } from '../authentication/response-headers.interceptor.js';
import { type ApiResponse, seenByPlugin, SWAGGER } from './swagger-metadata.js';
import { ErrorModel } from './models.js';
import { AUTHENTICATION } from '../authentication/expiring-token.decorators.js';
import { ownHandler } from './controller-copy.js';

/** A route, as its document says it. */
export interface ApiRoute {
  summary?: string;
  body?: { type: Type; required: boolean };
  /** Headers that it reads, and what for. */
  headers?: Record<string, string>;
  /** What it answers if all is well. Left out where the application says so, or the plugin of `@nestjs/swagger`. */
  answer?: ApiResponse;
  /** What it refuses, beside what all guarded routes do. */
  errors?: readonly ExpiringTokenErrorCode[];
  /** Whether the options leave it out. */
  excluded?: boolean;
}

type Describe = (options: ResolvedOptions) => ApiRoute;

const DESCRIPTION = 'expiring-token:api';

/** Describes a route for `@nestjs/swagger`, once the options are known. */
export const DescribeRoute = (describe: Describe) => SetMetadata(DESCRIPTION, describe);

/**
 * For the document of `@nestjs/swagger`, on a controller or a handler that {@link ExpiringTokenGuard} or
 * `AuthGuard('expiring-token')` guards: the bearer scheme, and what is answered to a bad token, or to none. `@Public()` and
 * `@OptionalToken()` are taken into account. With `globalGuard` it stands on every route by itself.
 *
 * The scheme itself is what `DocumentBuilder.addBearerAuth()` adds to the document. Without `@nestjs/swagger` nothing happens.
 *
 * @example
 * ```ts
 * @ApiExpiringToken()
 * @UseGuards(ExpiringTokenGuard)
 * @Controller('notes')
 * export class NotesController {
 *   @Get()
 *   list() {
 *     return [];
 *   }
 * }
 * ```
 */
export const ApiExpiringToken = () => DescribeRoute(() => ({}));

/** The name that `addBearerAuth()` and `@ApiBearerAuth()` give the scheme. */
const BEARER = { bearer: [] };

/** Who may send a request: a requirement without a scheme is met by everybody, whatever the document asks for elsewhere. */
const SECURITY = { required: [BEARER], optional: [BEARER, {}], public: [{}] };

/** What a guarded route refuses. */
const GUARD_ERRORS: Record<keyof typeof SECURITY, readonly ExpiringTokenErrorCode[]> = {
  required: ['token_missing', 'token_invalid', 'token_expired', 'user_inactive', 'request_invalid', 'unavailable'],
  optional: ['token_invalid', 'token_expired', 'user_inactive', 'request_invalid', 'unavailable'],
  public: [],
};

/** When to come again, in the example of an answer. */
const EXAMPLE_RETRY_SECONDS = 300;

/**
 * Writes what `@nestjs/swagger` reads, for the routes of the module and for those of the application that are marked. When the
 * module is made, because all decorators have run by then, whatever their order, the options are known, and the application
 * makes its document afterwards.
 */
@Injectable()
export class RouteDocumentation {
  constructor(
    modules: ModulesContainer,
    private readonly reflector: Reflector,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(MODULE_EXTRAS) private readonly structure: ResolvedModuleOptions,
  ) {
    const scanner = new MetadataScanner();
    for (const { controllers } of modules.values()) {
      for (const { metatype } of controllers.values()) {
        const controller = metatype as Type;
        for (const name of scanner.getAllMethodNames(controller.prototype)) this.document(controller, name);
      }
    }
  }

  private document(controller: Type, name: string): void {
    const found: () => unknown = controller.prototype[name];
    if (!Reflect.hasMetadata('method', found)) return;
    const stated = this.find<'public' | 'optional'>(AUTHENTICATION, found, controller);
    const need = stated ?? 'required';
    const guarded: Describe | undefined = this.structure.globalGuard && need !== 'public' ? () => ({}) : undefined;
    const describe = this.find<Describe>(DESCRIPTION, found, controller) ?? guarded;
    // Whoever else has an inherited handler may be guarded otherwise.
    const isOwn = Object.hasOwn(controller.prototype, name);
    const isMute = !describe && !stated;
    if (isMute && !isOwn) return;
    const handler = isOwn ? found : ownHandler(controller, name);
    startAfresh(handler, found);
    if (isMute) return;
    if (!this.find(SWAGGER.security, handler, controller)) {
      Reflect.defineMetadata(SWAGGER.security, SECURITY[need], handler);
    }
    if (!describe) return;
    const { summary, body, headers = {}, answer, errors = [], excluded } = describe(this.options);
    if (summary) Reflect.defineMetadata(SWAGGER.operation, { summary }, handler);
    if (excluded) Reflect.defineMetadata(SWAGGER.excluded, { disable: true }, handler);
    const parameters = [...Object.entries(headers).map(headerParameter), ...(body ? [{ in: 'body', ...body }] : [])];
    if (parameters.length > 0) Reflect.defineMetadata(SWAGGER.parameters, parameters, handler);
    // What the application has written itself stays.
    const written: object = {
      ...Reflect.getMetadata(SWAGGER.responses, controller),
      ...this.find<object>(SWAGGER.responses, handler, controller),
    };
    const isAnswered = Object.keys(written).some((status) => /^2|default/.test(status));
    const success = isAnswered ? {} : { [successOf(handler)]: answer ?? seenByPlugin(controller, name) };
    const refusals = this.refusals([...GUARD_ERRORS[need], ...errors]);
    Reflect.defineMetadata(SWAGGER.responses, { ...success, ...refusals, ...written }, handler);
  }

  private find<T>(key: string, handler: () => unknown, controller: Type): T | undefined {
    return this.reflector.getAllAndOverride<T | undefined>(key, [handler, controller]);
  }

  /** The answers with these codes, by their status. */
  private refusals(codes: readonly ExpiringTokenErrorCode[]): Record<number, ApiResponse> {
    const answers: Record<number, ApiResponse> = {};
    for (const code of new Set(codes)) {
      const error = new ExpiringTokenException(code, {
        statusCode: code === 'token_expired' ? this.options.expiredStatus : undefined,
        retryAfterSeconds: code === 'throttled' ? EXAMPLE_RETRY_SECONDS : undefined,
      });
      const { description, examples, headers } = answers[error.getStatus()] ?? {};
      const own = Object.entries(errorHeaders(error, this.options.realm)).map(([header, example]) => [
        header,
        { schema: { type: 'string', example } },
      ]);
      answers[error.getStatus()] = {
        description: [description, `\`${code}\``].filter(Boolean).join(', '),
        type: ErrorModel,
        examples: { ...examples, [code]: { value: error.getResponse() } },
        headers: { ...headers, ...Object.fromEntries(own) },
      };
    }
    return answers;
  }
}

/** What stood on a handler before this wrote on it: another application of the process may document it, by other options. */
const before = new WeakMap<object, readonly [key: string, value: unknown][]>();

/** @param found - the handler that this one is, or was made of */
function startAfresh(handler: object, found: object): void {
  const written = [SWAGGER.security, SWAGGER.responses];
  const stood = before.get(found) ?? written.map((key) => [key, Reflect.getOwnMetadata(key, found)] as const);
  before.set(handler, stood);
  for (const [key, value] of stood) {
    if (value === undefined) Reflect.deleteMetadata(key, handler);
    else Reflect.defineMetadata(key, value, handler);
  }
}

/** A header that a route reads. */
const headerParameter = ([name, description]: [string, string]) => ({
  in: 'header',
  name,
  description,
  required: false,
  schema: { type: 'string' },
});

/** The status that Nest answers with where the handler says nothing. */
function successOf(handler: object): number {
  const isPost = Reflect.getMetadata('method', handler) === RequestMethod.POST;
  return Reflect.getMetadata('__httpCode__', handler) ?? (isPost ? HttpStatus.CREATED : HttpStatus.OK);
}
