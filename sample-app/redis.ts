import { Redis } from 'ioredis';
import type { ExpiringTokenModuleOptions } from 'nestjs-expiring-token';

/** The options through which several processes share one Redis. */
export type SharedOptions = Pick<ExpiringTokenModuleOptions, 'cache' | 'loginThrottle'>;

/** Shares the cache's revocations and the rate limit of logins through a Redis client. */
export const redisOptions = (redis: Redis): SharedOptions => ({
  cache: { redis: redis.on('error', () => undefined) },
  loginThrottle: { redis },
});
