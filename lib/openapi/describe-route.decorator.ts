import { SetMetadata, type Type } from '@nestjs/common';
import type { ExpiringTokenErrorCode } from '../errors/expiring-token.exception.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { type ApiResponse, SWAGGER } from './swagger-metadata.js';

/** The code of an error, with its message if the route has one of its own. */
export type RouteError = ExpiringTokenErrorCode | readonly [code: ExpiringTokenErrorCode, message: string];

/** The documentation of a route. */
interface RouteDescription {
  summary?: string;
  body?: { type: Type; required: boolean };
  /** The names of the parameters in the path of the route. */
  pathParameters?: readonly string[];
  /** The headers that the route reads, each with its meaning. */
  headers?: Record<string, string>;
  /** The response of success. Left out if the application, or the plugin of `@nestjs/swagger`, describes it. */
  response?: ApiResponse;
  /** The codes of the route's errors, without those that every guarded route has. */
  errors?: readonly RouteError[];
  /** Whether the document leaves the route out. */
  excluded?: boolean;
}

/** Returns the documentation of a route for the options of an application. */
export type DescribeFunction = (options: ResolvedOptions) => RouteDescription;

/** Metadata key of the {@link DescribeFunction} of a controller or a handler. */
export const DESCRIPTION = 'expiring-token:api';

/** Describes a route for `@nestjs/swagger`. The function is called at start-up, when the options are known. */
export const DescribeRoute = (describe: DescribeFunction) => SetMetadata(DESCRIPTION, describe);

/** Lists the routes of a controller of this package under one heading. */
export const TagAuthentication = () => SetMetadata(SWAGGER.tags, ['Authentication']);

/**
 * Documents a controller or a handler that {@link ExpiringTokenGuard} or `AuthGuard('expiring-token')` guards, for
 * `@nestjs/swagger`: the bearer scheme, and the responses to a missing and to an invalid token. `@Public()` and
 * `@OptionalToken()` are taken into account. With the option `globalGuard` every route of the application is documented in
 * this way, without the decorator.
 *
 * `DocumentBuilder.addBearerAuth()` adds the scheme itself to the document. Without `@nestjs/swagger` the decorator has no
 * effect.
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
