import { withTimeout } from '../../async/with-timeout.js';
import { describeError } from '../../errors/describe-error.js';
import { PackageLogger } from '../../errors/package.logger.js';
import { disconnect, isIoredis, openRedis, untilReady } from '../../redis/redis-client.js';
import { type AttemptCounter, refusedSlot, type Slot, type ThrottleOptions } from './attempt-counter.js';
import { MemoryCounter } from './memory.counter.js';

/** The part of an `ioredis` or a `redis` client that is used here. */
interface CommandClient {
  eval(script: string, ...parameters: unknown[]): Promise<unknown>;
}

/** Longest wait for one Redis command, so that Redis delays a login no longer than the hash of its password does. */
const REDIS_TIMEOUT_MS = 100;

/** Longest wait for the first connection, which delays the start of an application while Redis is away. */
const CONNECT_TIMEOUT_MS = 1000;

/** After Redis has failed, it is not used for this long. Otherwise each login would wait for it in turn. */
const REDIS_PAUSE_MS = 1000;

/**
 * Takes a slot of the hash KEYS[1], whose fields hold how many slots each member has taken, for the member ARGV[3] if less than
 * ARGV[1] are taken. Returns 1 or 0 for taken or refused, and the time until the window ends. A key of another type, or without
 * an expiry, whoever wrote it, would refuse logins forever: the first is deleted, the second gets ARGV[2] milliseconds.
 */
const CONSUME = `
if redis.call('type', KEYS[1]).ok ~= 'hash' then redis.call('del', KEYS[1]) end
local used = 0
for _, count in ipairs(redis.call('hvals', KEYS[1])) do used = used + math.max(0, tonumber(count) or 0) end
local taken = 0
if used < tonumber(ARGV[1]) then
  taken = 1
  redis.call('hincrby', KEYS[1], ARGV[3], 1)
end
local ttl = redis.call('pttl', KEYS[1])
if ttl < 0 then
  ttl = tonumber(ARGV[2])
  redis.call('pexpire', KEYS[1], ARGV[2])
end
return { taken, ttl }`;

/** Returns a slot of the member ARGV[1], unless all its slots were returned meanwhile. */
const REFUND = `
if redis.call('hincrby', KEYS[1], ARGV[1], -1) < 1 then redis.call('hdel', KEYS[1], ARGV[1]) end`;

/** Returns all slots of the member ARGV[1]. */
const CLEAR = `redis.call('hdel', KEYS[1], ARGV[1])`;

/**
 * Counts in Redis for all processes together. While Redis does not answer, this process counts alone. A slot is returned
 * where it was taken.
 */
export class RedisCounter implements AttemptCounter {
  private readonly logger = new PackageLogger();
  private readonly memory: MemoryCounter;
  /** Undefined if the option is a URL, until {@link connect} is called. */
  private client?: CommandClient;
  private closeClient?: () => Promise<void>;
  private pausedUntilMs = 0;

  constructor(
    private readonly options: ThrottleOptions,
    private readonly namespace: string,
  ) {
    this.memory = new MemoryCounter(options);
    if (typeof options.redis !== 'string') this.client = options.redis as CommandClient;
  }

  /** Connects to Redis. Waits for the connection for a moment, so that already the first login is counted there. */
  async connect(): Promise<void> {
    const { client, isOwn } = await openRedis('loginThrottle.redis', this.options.redis);
    this.client = client as unknown as CommandClient;
    if (!isOwn) return;
    this.closeClient = () => disconnect(client);
    await withTimeout(CONNECT_TIMEOUT_MS, () => untilReady(client), 'Redis').catch(() => undefined);
  }

  async consume(key: string, member: string): Promise<Slot> {
    const consumed = await this.tryRedis(
      (client) => this.runConsume(client, key, member),
      // The answer came after all, but the attempt was counted in memory by then.
      ({ refusedForMs }, client) => (refusedForMs === null ? this.run(client, REFUND, key, member) : undefined),
    );
    if (!consumed) return this.memory.consume(key, member);
    if (consumed.refusedForMs !== null) return refusedSlot(consumed.refusedForMs);
    const endsAtMs = performance.now() + consumed.windowMs;
    const refund = async () => {
      // A slot of a window that has ended must not be returned to the next one.
      if (performance.now() < endsAtMs) await this.tryRedis((client) => this.run(client, REFUND, key, member));
    };
    return { refusedForMs: null, refund };
  }

  async clear(key: string, member: string): Promise<void> {
    await Promise.all([
      this.memory.clear(key, member),
      this.tryRedis((client) => this.run(client, CLEAR, key, member)),
    ]);
  }

  close(): void {
    this.memory.close();
    void this.closeClient?.();
  }

  private async runConsume(
    client: CommandClient,
    key: string,
    member: string,
  ): Promise<{ refusedForMs: number | null; windowMs: number }> {
    const { limit, ttlMs } = this.options;
    const reply = (await this.run(client, CONSUME, key, limit, Math.ceil(ttlMs), member)) as [
      taken: unknown,
      windowMs: unknown,
    ];
    // A client may be configured to return numbers as strings. The string '0' is truthy, and would accept every attempt.
    const [taken, windowMs] = [Number(reply[0]), Number(reply[1])];
    return { refusedForMs: taken === 1 ? null : windowMs, windowMs };
  }

  /** Runs a script on one key. `ioredis` and `redis` take the parameters of `EVAL` in different forms. */
  private run(
    client: CommandClient,
    script: string,
    key: string,
    ...parameters: (number | string)[]
  ): Promise<unknown> {
    const [name, texts] = [`expiring-token:${this.namespace}:login:${key}`, parameters.map(String)];
    return isIoredis(client)
      ? client.eval(script, 1, name, ...texts)
      : client.eval(script, { keys: [name], arguments: texts });
  }

  /**
   * Runs a command, unless Redis has failed a moment ago.
   *
   * @param undo - called with an answer that comes too late
   * @returns undefined if Redis gave no answer in time
   */
  private async tryRedis<T>(
    command: (client: CommandClient) => Promise<T>,
    undo?: (answer: T, client: CommandClient) => unknown,
  ): Promise<T | undefined> {
    const { client } = this;
    if (!client || performance.now() < this.pausedUntilMs) return undefined;
    const answer = (async () => command(client))();
    try {
      return await inTime(answer);
    } catch (error) {
      this.pause(error);
      answer.then((late) => undo?.(late, client)).catch(() => undefined);
      return undefined;
    }
  }

  /** Leaves Redis alone for a while after it has failed. */
  private pause(error: unknown): void {
    // Of the commands that fail together, only the first one is logged.
    if (performance.now() >= this.pausedUntilMs) {
      this.logger.warn(`Redis failed, so this process counts failed logins alone: ${describeError(error)}`);
    }
    this.pausedUntilMs = performance.now() + REDIS_PAUSE_MS;
  }
}

/** Rejects if Redis does not answer in time. */
function inTime<T>(answer: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const fail = () => reject(new Error(`no answer within ${REDIS_TIMEOUT_MS} ms`));
    // In a busy process the timer may fire before an answer that has arrived is read. The immediate runs after that.
    const timer = setTimeout(() => setImmediate(fail), REDIS_TIMEOUT_MS);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
