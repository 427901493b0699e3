import { Redis } from 'ioredis';
import type { ExpiringTokenModuleOptions } from 'nestjs-expiring-token';
import { report } from './cluster/report.js';

/** What several processes share in the Redis that a URL names; nothing without one. */
export function redisOptions(url: string | undefined): Pick<ExpiringTokenModuleOptions, 'cache' | 'loginThrottle'> {
  if (url === undefined) return {};
  const redis = new MeasuredRedis(url).on('error', () => undefined);
  return { cache: { redis }, loginThrottle: { redis } };
}

/** Where the package tells whose tokens were revoked. Its other channels are for itself. */
const REVOKED = 'expiring-token:revoked';

/** A clock that all processes of a machine have in common. */
const nowMs = () => Number(process.hrtime.bigint()) / 1e6;

/** Reports when a revocation was told, and when it was heard, on the connection that the package listens on. */
class MeasuredRedis extends Redis {
  override publish(channel: string | Buffer, message: string | Buffer): Promise<number> {
    if (channel === REVOKED) report({ told: { userId: String(message), atMs: nowMs() } });
    return super.publish(channel, message);
  }

  override duplicate(): Redis {
    return super.duplicate().on('message', (channel, userId) => {
      if (channel === REVOKED) report({ heard: { userId, atMs: nowMs() } });
    });
  }
}
