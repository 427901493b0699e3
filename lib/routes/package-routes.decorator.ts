import { applyDecorators, SerializeOptions, SetMetadata, UseInterceptors } from '@nestjs/common';
import { ResponseHeadersInterceptor } from '../authentication/response-headers.interceptor.js';
import { TagAuthentication } from '../openapi/describe-route.decorator.js';

/** Metadata key of the handlers of this package. Nest copies it to the function that it registers with the router. */
export const PACKAGE_ROUTE = 'expiring-token:route';

/**
 * The options with which the serializers of `@nestjs/common` return a response without a change, whatever their own options
 * are: clients read exactly the members that the package wrote.
 */
const UNCHANGED = {
  type: undefined,
  strategy: 'exposeAll',
  ignoreDecorators: true,
  excludePrefixes: [],
  excludeExtraneousValues: false,
  exposeUnsetFields: true,
  schema: {
    '~standard': { version: 1, vendor: 'nestjs-expiring-token', validate: (value: unknown) => ({ value }) },
  },
} as const;

/**
 * The metadata keys that `@CacheKey()` and `@CacheTTL()` of `@nestjs/cache-manager` write. This package writes them without the
 * decorators, so that `@nestjs/cache-manager` is not needed.
 */
const CACHE_KEY = 'cache_module:cache_key';
const CACHE_TTL = 'cache_module:cache_ttl';

/** A function as the key, which returns none: `CacheInterceptor` neither reads nor stores the response. */
const withoutCacheKey = (): undefined => undefined;

/** A subclass of `CacheInterceptor` may compute keys of its own. After this error it calls the handler, and stores nothing. */
function failToCache(): never {
  throw new Error('Responses of nestjs-expiring-token belong to one user, and are not cached');
}

/** Writes metadata on all handlers of a controller, because `CacheInterceptor` reads the key from the handler only. */
const OnHandlers =
  (...decorators: MethodDecorator[]): ClassDecorator =>
  ({ prototype }) => {
    for (const [name, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
      if (name === 'constructor') continue;
      for (const decorate of decorators) decorate(prototype, name, descriptor);
    }
  };

/**
 * Marks a controller of this package. Its responses have the documented form, are not stored by caches, and do not pass through
 * the serializers and the cache that an application sets up for its own routes.
 */
export const PackageRoutes = (): ClassDecorator =>
  applyDecorators(
    TagAuthentication(),
    UseInterceptors(ResponseHeadersInterceptor),
    SerializeOptions(UNCHANGED),
    OnHandlers(
      SetMetadata(PACKAGE_ROUTE, true),
      SetMetadata(CACHE_KEY, withoutCacheKey),
      SetMetadata(CACHE_TTL, failToCache),
    ),
  );
