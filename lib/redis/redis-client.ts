import { describeError } from '../errors/describe-error.js';
import { ExpiringTokenOptionsError } from '../errors/expiring-token-options.error.js';

/** The part of an `ioredis` or a `redis` client that is used here. */
export interface RedisClient {
  duplicate(): RedisClient;
  publish(channel: string, message: string): Promise<unknown>;
  on(event: string, listener: (...given: never[]) => void): unknown;
  subscribe(...given: unknown[]): Promise<unknown>;
  disconnect(): unknown;
  connect(): Promise<unknown>;
  /** `ioredis`: where it is between two connections. */
  readonly status?: string;
  /** `redis`. */
  readonly isReady?: boolean;
  destroy?(): void;
}

/** `ioredis` gives scripts their names; `redis` has no such method in any version. */
const isIoredis = (client: object): boolean => 'defineCommand' in client;

/** Whether a command is sent at once, and does not wait for a connection. */
export const isReady = (client: RedisClient): boolean => client.status === 'ready' || client.isReady === true;

/** Waits for a connection. */
export const untilReady = (client: RedisClient): Promise<void> =>
  new Promise((resolve) => {
    client.on('ready', () => resolve());
    if (isReady(client)) resolve();
  });

/** Longest pause between two tries to connect. */
const MAX_RETRY_DELAY_MS = 500;

/** A client of whichever package is there, which tries to connect until it can. */
export async function connectRedis(url: string): Promise<RedisClient> {
  const ioredis = (await importOptional('ioredis')) as {
    Redis: new (address: string, options: object) => RedisClient;
  } | null;
  if (ioredis) {
    const retryStrategy = (times: number) => Math.min(times * 50, MAX_RETRY_DELAY_MS);
    const client = new ioredis.Redis(url, { retryStrategy, enableOfflineQueue: false });
    client.on('error', () => undefined);
    return client;
  }
  const redis = (await importOptional('redis')) as { createClient(options: object): RedisClient } | null;
  if (redis) {
    const reconnectStrategy = (retries: number) => Math.min(retries * 50, MAX_RETRY_DELAY_MS);
    const client = redis.createClient({ url, socket: { reconnectStrategy }, disableOfflineQueue: true });
    client.on('error', () => undefined);
    void client.connect().catch(() => undefined);
    return client;
  }
  throw new ExpiringTokenOptionsError(
    'cache.redis',
    'it is a URL, and there is no Redis client',
    'Install ioredis or redis, or give a client of your own.',
  );
}

/** Ends a connection at once, whatever it waits for, and if it never came to be. */
export async function disconnect(client: RedisClient): Promise<void> {
  try {
    await (client.destroy ? client.destroy() : client.disconnect());
  } catch {
    // There is nothing to end.
  }
}

/** What happens on a connection that {@link listen | listens}. */
export interface Listener {
  /** From now on messages come. */
  onListening(): void;
  onMessage(channel: string, message: string): void;
  /** Messages may be missed from now on. */
  onLost(reason: string): void;
}

/** Listens to channels on a connection of its own, and to them again whenever that was lost. */
export function listen(client: RedisClient, channels: readonly string[], listener: Listener): RedisClient {
  const subscriber = client.duplicate();
  const onFailure = (error: unknown) => listener.onLost(describeError(error));
  subscriber.on('error', onFailure);
  for (const event of ['close', 'end', 'reconnecting']) {
    subscriber.on(event, () => listener.onLost('the connection is lost'));
  }
  // It is the same each time: `redis` calls a function once, however often that subscribed.
  const onMessage = (message: string, channel: string) => listener.onMessage(channel, message);
  if (isIoredis(subscriber))
    subscriber.on('message', (channel: string, message: string) => onMessage(message, channel));
  const subscribe = () =>
    isIoredis(subscriber) ? subscriber.subscribe(...channels) : subscriber.subscribe(channels, onMessage);
  subscriber.on('ready', () => void subscribe().then(() => listener.onListening(), onFailure));
  if (!isIoredis(subscriber) || subscriber.status === 'wait') void subscriber.connect().catch(onFailure);
  return subscriber;
}

async function importOptional(name: string): Promise<unknown> {
  try {
    return await import(name);
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ERR_MODULE_NOT_FOUND') return null;
    throw error;
  }
}
