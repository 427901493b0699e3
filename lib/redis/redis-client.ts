import { describeError } from '../errors/describe-error.js';
import { ExpiringTokenOptionsError } from '../errors/expiring-token-options.error.js';

/** The methods of an `ioredis` or a `redis` client that this package uses. */
export interface RedisClient {
  duplicate(): RedisClient;
  publish(channel: string, message: string): Promise<unknown>;
  on(event: string, listener: (...parameters: never[]) => void): unknown;
  subscribe(...parameters: unknown[]): Promise<unknown>;
  disconnect(): unknown;
  connect(): Promise<unknown>;
  /** Only `ioredis`: the state of the connection. */
  readonly status?: string;
  /** Only `redis`. */
  readonly isReady?: boolean;
  destroy?(): void;
}

/** Clients of `ioredis` have this method. No version of `redis` has it. */
export const isIoredis = (client: object): boolean => 'defineCommand' in client;

/** Whether the client sends a command immediately, without waiting for a connection. */
export const isReady = (client: RedisClient): boolean => client.status === 'ready' || client.isReady === true;

/** Waits until the client is connected. */
export const untilReady = (client: RedisClient): Promise<void> =>
  new Promise((resolve) => {
    client.on('ready', () => resolve());
    if (isReady(client)) resolve();
  });

/** Longest pause between two attempts to connect. */
const MAX_RETRY_DELAY_MS = 500;

/**
 * Connects to the Redis that an option names.
 *
 * @param option - name of the option
 * @param redis - its value: a URL, or a client of the application
 * @returns the client, and whether it was created here, so that it must be disconnected
 * @throws ExpiringTokenOptionsError for a URL, if no Redis package is installed
 */
export async function openRedis(option: string, redis: unknown): Promise<{ client: RedisClient; isOwn: boolean }> {
  if (typeof redis === 'string') return { client: await createClient(option, redis), isOwn: true };
  const client = redis as RedisClient;
  // A client of `ioredis` with `lazyConnect` waits for its first command, and only a client that is connected gets commands.
  if (client.status === 'wait') void client.connect().catch(() => undefined);
  return { client, isOwn: false };
}

/** Creates a client with `ioredis` if it is installed, else with `redis`. The client retries until it is connected. */
async function createClient(option: string, url: string): Promise<RedisClient> {
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
    option,
    'it is a URL, and there is no Redis client',
    'Install ioredis or redis, or give a client of your own.',
  );
}

/** Closes a connection immediately, even if commands are pending or it was never open. */
export async function disconnect(client: RedisClient): Promise<void> {
  try {
    await (client.destroy ? client.destroy() : client.disconnect());
  } catch {
    // The connection is closed already.
  }
}

/** Called for what happens on the connection of {@link subscribe}. */
export interface SubscriptionListener {
  /** From now on messages arrive. */
  onSubscribed(): void;
  onMessage(channel: string, message: string): void;
  /** From now on messages may be lost, until `onSubscribed` is called again. */
  onLost(reason: string): void;
}

/** Subscribes to channels on a new connection, and again each time after the connection was lost. Returns the new client. */
export function subscribe(
  client: RedisClient,
  channels: readonly string[],
  listener: SubscriptionListener,
): RedisClient {
  const subscriber = client.duplicate();
  const onFailure = (error: unknown) => listener.onLost(describeError(error));
  subscriber.on('error', onFailure);
  for (const event of ['close', 'end', 'reconnecting']) {
    subscriber.on(event, () => listener.onLost('the connection is lost'));
  }
  // One function for all subscriptions: `redis` calls the same function once for a message, even after it subscribed again.
  const onMessage = (message: string, channel: string) => listener.onMessage(channel, message);
  if (isIoredis(subscriber))
    subscriber.on('message', (channel: string, message: string) => onMessage(message, channel));
  const subscribeAll = () =>
    isIoredis(subscriber) ? subscriber.subscribe(...channels) : subscriber.subscribe(channels, onMessage);
  subscriber.on('ready', () => void subscribeAll().then(() => listener.onSubscribed(), onFailure));
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
