import ms from 'ms';
import { type DurationRange, parseDuration, parseLifetime } from './duration.js';
import type { ExpiringTokenOptions } from './expiring-token.options.js';
import {
  checkFields,
  checkFieldsOrTrue,
  checkInteger,
  checkOneOf,
  checkPattern,
  formatValue,
  rejectOption,
} from './option-checks.js';

/** The longer a used refresh token can be used again, the longer the reuse of a stolen one goes unnoticed. */
const GRACE_RANGE: DurationRange = { min: 0, max: ms('60s'), description: 'from 0 to 60 seconds' };

/** Headers that cannot carry the refresh token: clients send them anyway, or they describe the request. */
const RESERVED_HEADERS = [
  'accept',
  'authorization',
  'connection',
  'content-length',
  'content-type',
  'cookie',
  'host',
  'user-agent',
];

/** This number of tokens takes some gigabytes of memory. */
const MAX_CACHE_SIZE = 10_000_000;

/** A password of this many code points has at most 1,024 bytes, the limit, in every script. */
const MAX_MIN_PASSWORD_LENGTH = 256;

/** Maximum number of rows of one statement. */
const MAX_BATCH_SIZE = 10_000;

/** Checks the option `refresh`. Null means that there are no refresh tokens. */
export function parseRefresh(value: ExpiringTokenOptions['refresh']) {
  if (value === false) return null;
  const {
    idle = '7d',
    lifespan = '90d',
    grace = '30s',
    header = 'Refresh-Token',
  } = checkFieldsOrTrue('refresh', value, ['idle', 'lifespan', 'grace', 'header']);
  const name = checkPattern(
    'refresh.header',
    header,
    /^[A-Za-z0-9-]+$/,
    'Give the name of a header: letters, digits and hyphens.',
  ).toLowerCase();
  if (RESERVED_HEADERS.includes(name)) {
    rejectOption('refresh.header', header, 'Give the name of a header that has no other meaning.');
  }
  return Object.freeze({
    lifetime: Object.freeze({
      lifespanMs: parseLifetime('refresh.lifespan', lifespan, { never: true }),
      idleMs: parseLifetime('refresh.idle', idle),
    }),
    graceMs: parseDuration('refresh.grace', grace, { range: GRACE_RANGE }),
    header: name,
  });
}

/** Checks an option that is the start of tokens. */
export const parsePrefix = (option: string, value: unknown): string =>
  checkPattern(option, value, /^[A-Za-z0-9_-]{1,20}$/, 'Give 1 to 20 letters, digits, _ or -.');

/** Maximum number of personal tokens of a user: a list shows all of them. */
const MAX_PERSONAL_TOKENS = 1000;

/**
 * Checks the option `personal`. Null means that there are no personal tokens.
 *
 * @param loginPrefix - the option `prefix`
 */
export function parsePersonal(value: ExpiringTokenOptions['personal'], loginPrefix: string) {
  if (value === false) return null;
  const {
    lifespan,
    longest = '365d',
    perUser = 50,
    prefix: givenPrefix = 'extp_',
  } = checkFieldsOrTrue('personal', value, ['lifespan', 'longest', 'perUser', 'prefix']);
  const longestMs = parseLifetime('personal.longest', longest, { never: true });
  const lifespanMs =
    lifespan === undefined ? Math.min(ms('90d'), longestMs) : parseLifetime('personal.lifespan', lifespan);
  if (lifespanMs > longestMs) rejectOption('personal.lifespan', lifespan, 'Give at most personal.longest.');
  const prefix = parsePrefix('personal.prefix', givenPrefix);
  if (prefix.startsWith(loginPrefix) || loginPrefix.startsWith(prefix)) {
    rejectOption(
      'personal.prefix',
      prefix,
      `Give another one than the option prefix, ${formatValue(loginPrefix)}: neither may begin with the other.`,
    );
  }
  return Object.freeze({
    lifespanMs,
    longestMs,
    perUser: checkInteger('personal.perUser', perUser, 1, MAX_PERSONAL_TOKENS),
    prefix,
  });
}

/**
 * Checks an option that is a URL or a client of Redis, if it is set.
 *
 * @param methods - methods of a client that are used
 */
function checkRedis(option: string, redis: unknown, methods: readonly string[]): void {
  const isClient = typeof redis === 'object' && redis !== null && methods.every((method) => method in redis);
  const isUrl = typeof redis === 'string' && /^rediss?:\/\//.test(redis) && URL.canParse(redis);
  if (redis !== undefined && !isUrl && !isClient) {
    rejectOption(option, redis, "Give a URL such as 'redis://localhost:6379', or a client made by ioredis or redis.");
  }
}

/** Checks the option `limit`. Null means that there is no limit. */
export function parseLimit(value: ExpiringTokenOptions['limit']) {
  if (value === null) return null;
  const { perUser, policy } = checkFields('limit', value, ['perUser', 'policy']);
  return Object.freeze({
    perUser: checkInteger('limit.perUser', perUser, 1, Number.MAX_SAFE_INTEGER),
    policy: checkOneOf('limit.policy', policy, ['evict', 'reject'] as const),
  });
}

/** Checks the option `loginThrottle`. Null means that failed logins are not limited. */
export function parseLoginThrottle(value: ExpiringTokenOptions['loginThrottle']) {
  if (value === false) return null;
  const { limit = 10, ttl = '5m', redis } = checkFields('loginThrottle', value, ['limit', 'ttl', 'redis']);
  checkRedis('loginThrottle.redis', redis, ['eval']);
  return Object.freeze({
    limit: checkInteger('loginThrottle.limit', limit, 1, Number.MAX_SAFE_INTEGER),
    ttlMs: parseDuration('loginThrottle.ttl', ttl),
    redis,
  });
}

/** Checks the option `cache`. Null means that no token is cached. */
export function parseCache(value: ExpiringTokenOptions['cache']) {
  if (value === false) return null;
  const { ttl = '10s', max = 50_000, redis } = checkFieldsOrTrue('cache', value, ['ttl', 'max', 'redis']);
  checkRedis('cache.redis', redis, ['duplicate', 'publish']);
  return Object.freeze({
    ttlMs: parseDuration('cache.ttl', ttl),
    max: checkInteger('cache.max', max, 1, MAX_CACHE_SIZE),
    redis,
  });
}

/** Checks the option `prune`. With `false`, `everyMs` is null, and the rest applies to a call of `prune()`. */
export function parsePrune(value: ExpiringTokenOptions['prune']) {
  const {
    every = '1h',
    retention = '7d',
    batch = 1000,
  } = checkFieldsOrTrue('prune', value === false ? true : value, ['every', 'retention', 'batch']);
  return Object.freeze({
    everyMs: value === false ? null : parseDuration('prune.every', every),
    retentionMs: parseDuration('prune.retention', retention),
    batch: checkInteger('prune.batch', batch, 1, MAX_BATCH_SIZE),
  });
}

/** Checks the option `passwords`. */
export function parsePasswords(value: ExpiringTokenOptions['passwords']) {
  const { minLength = 8, check } = checkFields('passwords', value, ['minLength', 'check']);
  if (check !== undefined && typeof check !== 'function') {
    rejectOption('passwords.check', check, 'Give a function that throws to reject a password.');
  }
  return Object.freeze({
    minLength: checkInteger('passwords.minLength', minLength, 1, MAX_MIN_PASSWORD_LENGTH),
    check,
  });
}
