import { createSecretKey, type KeyObject } from 'node:crypto';
import ms from 'ms';
import { parseDuration } from './duration.js';
import type { ExpiringTokenOptions, ObtainPolicy } from './expiring-token.options.js';
import { checkFields, checkInteger, checkPattern, checkOneOf, rejectOption } from './option-checks.js';
import { ExpiringTokenOptionsError } from '../errors/expiring-token-options.error.js';

/** RFC 2104 §3: an HMAC key shorter than the hash weakens it. */
const MIN_SECRET_BYTES = 32;

/** Longest time in which a used refresh token can be used again: the longer, the longer a stolen one serves unnoticed. */
const GRACE_RANGE = { min: 0, max: ms('60s'), description: 'from 0 to 60 seconds' };

/** Headers that clients send with every request, or that say what the request is. */
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

/** Largest number of tokens that a process remembers: some gigabytes. */
const MAX_CACHE_SIZE = 10_000_000;

/** Most threads that libuv can have. */
const MAX_CONCURRENT_HASHES = 1024;

/** Largest number of rows of one statement. */
const MAX_BATCH_SIZE = 10_000;

/** How long tokens live, in milliseconds; `Infinity` means that there is no end. */
export interface Lifetime {
  /** After creation. It does not apply to a token that has its own lifespan. */
  readonly lifespanMs: number;
  /** After the last use. */
  readonly idleMs: number;
}

/** The options as the package uses them: checked, with defaults, durations in milliseconds. */
export type ResolvedOptions = ReturnType<typeof resolveOptions>;

function parseSecrets(value: unknown): readonly KeyObject[] {
  const secrets: unknown[] = value === undefined ? [] : Array.isArray(value) ? value : [value];
  const remedy = `Give a random string of at least ${MIN_SECRET_BYTES} bytes, or a list of them, the newest first.`;
  if (value !== undefined && secrets.length === 0) rejectOption('secret', '[]', remedy);
  return Object.freeze(
    secrets.map((secret) => {
      // The value is a secret: the error tells only its kind or length.
      if (typeof secret !== 'string')
        return rejectOption('secret', `a ${secret === null ? 'null' : typeof secret}`, remedy);
      const bytes = Buffer.byteLength(secret);
      return bytes < MIN_SECRET_BYTES
        ? rejectOption('secret', `a secret of ${bytes} bytes`, remedy)
        : createSecretKey(secret, 'utf8');
    }),
  );
}

function parseObtain(value: unknown, hasSecret: boolean): ObtainPolicy {
  if (value === undefined) return hasSecret ? 'reuse' : 'replace';
  const policy = checkOneOf('obtain', value, ['reuse', 'renew', 'replace'] as const);
  if (policy !== 'replace' && !hasSecret) {
    rejectOption('obtain', policy, "Give secret as well, without which a token cannot be shown again, or 'replace'.");
  }
  return policy;
}

function parseSchemes(value: unknown): readonly string[] {
  // RFC 9110 §5.6.2: a scheme is a token.
  const isScheme = (scheme: unknown) => typeof scheme === 'string' && /^[\w!#$%&'*+.^`|~-]+$/.test(scheme);
  if (!Array.isArray(value) || value.length === 0 || !value.every(isScheme)) {
    rejectOption('schemes', value, "Give a list of scheme names, such as ['Bearer', 'Token'].");
  }
  return Object.freeze([...(value as string[])]);
}

function parseRefresh(value: ExpiringTokenOptions['refresh']) {
  if (value === false) return null;
  const {
    idle = '7d',
    lifespan = '90d',
    grace = '30s',
    header = 'Refresh-Token',
  } = checkFields('refresh', value, ['idle', 'lifespan', 'grace', 'header']);
  const name = checkPattern(
    'refresh.header',
    header,
    /^[A-Za-z0-9-]+$/,
    'Give the name of a header: letters, digits and hyphens.',
  ).toLowerCase();
  if (RESERVED_HEADERS.includes(name)) rejectOption('refresh.header', header, 'Give the name of a header of its own.');
  return Object.freeze({
    lifetime: Object.freeze({
      lifespanMs: parseDuration('refresh.lifespan', lifespan, { never: true }),
      idleMs: parseDuration('refresh.idle', idle),
    }),
    graceMs: parseDuration('refresh.grace', grace, { range: GRACE_RANGE }),
    header: name,
  });
}

function parseLastUsedAccuracy(value: unknown, shortestIdleMs: number): number {
  if (value === undefined) return Math.max(1, Math.min(ms('30m'), Math.floor(shortestIdleMs / 2)));
  const accuracyMs = parseDuration('lastUsedAccuracy', value);
  return accuracyMs < shortestIdleMs
    ? accuracyMs
    : rejectOption(
        'lastUsedAccuracy',
        value,
        'Give less than idle and refresh.idle, or last use is not known in time.',
      );
}

function parseLimit(value: ExpiringTokenOptions['limit']) {
  if (value === null) return null;
  const { perUser, policy } = checkFields('limit', value, ['perUser', 'policy']);
  return Object.freeze({
    perUser: checkInteger('limit.perUser', perUser, 1, Number.MAX_SAFE_INTEGER),
    policy: checkOneOf('limit.policy', policy, ['evict', 'reject'] as const),
  });
}

function parseLoginThrottle(value: ExpiringTokenOptions['loginThrottle']) {
  if (value === false) return null;
  const { limit = 10, ttl = '5m', redis } = checkFields('loginThrottle', value, ['limit', 'ttl', 'redis']);
  if (redis !== undefined && (typeof redis !== 'object' || redis === null)) {
    rejectOption('loginThrottle.redis', redis, 'Give a client made by ioredis or redis.');
  }
  return Object.freeze({
    limit: checkInteger('loginThrottle.limit', limit, 1, Number.MAX_SAFE_INTEGER),
    ttlMs: parseDuration('loginThrottle.ttl', ttl),
    redis,
  });
}

function parseCache(value: ExpiringTokenOptions['cache']) {
  if (value === false) return null;
  const { ttl = '10s', max = 50_000, redis } = checkFields('cache', value, ['ttl', 'max', 'redis']);
  const isClient = typeof redis === 'object' && redis !== null && 'duplicate' in redis && 'publish' in redis;
  const isUrl = typeof redis === 'string' && /^rediss?:\/\//.test(redis);
  if (redis !== undefined && !isUrl && !isClient) {
    // A URL may hold a password.
    const shown = typeof redis === 'string' ? 'a string' : redis;
    rejectOption(
      'cache.redis',
      shown,
      "Give a URL such as 'redis://localhost:6379', or a client made by ioredis or redis.",
    );
  }
  return Object.freeze({
    ttlMs: parseDuration('cache.ttl', ttl),
    max: checkInteger('cache.max', max, 1, MAX_CACHE_SIZE),
    redis,
  });
}

/** The option `prune`, or what a sweep of its own is to do otherwise. */
export function parsePrune(value: ExpiringTokenOptions['prune']) {
  const {
    every = '1h',
    retention = '7d',
    batch = 1000,
  } = checkFields('prune', value === false ? {} : value, ['every', 'retention', 'batch']);
  return Object.freeze({
    everyMs: value === false ? null : parseDuration('prune.every', every),
    retentionMs: parseDuration('prune.retention', retention),
    batch: checkInteger('prune.batch', batch, 1, MAX_BATCH_SIZE),
  });
}

function parseImported(value: unknown) {
  if (!Array.isArray(value)) return rejectOption('imported', value, "Give a list of 'drf' and 'sanctum'.");
  return Object.freeze(value.map((shape: unknown) => checkOneOf('imported', shape, ['drf', 'sanctum'] as const)));
}

/**
 * Checks the options and fills in the defaults, once, at start-up.
 *
 * @throws ExpiringTokenOptionsError naming the option, its value and the remedy
 */
export function resolveOptions(options: ExpiringTokenOptions) {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    rejectOption('options', options, 'Give an object of options.');
  }
  const {
    refresh = false,
    lifespan = refresh === false ? '30d' : '1h',
    idle = null,
    lastUsedAccuracy,
    secret,
    obtain,
    limit = null,
    loginThrottle = {},
    usernameField = 'username',
    passwordField = 'password',
    schemes = ['Bearer'],
    realm = 'api',
    expiredStatus = 401,
    prefix = 'ext_',
    imported = [],
    cache = false,
    hashConcurrency,
    prune = {},
    timeout = '2s',
    ...unknown
  } = options;
  const [stray] = Object.keys(unknown);
  if (stray !== undefined) {
    throw new ExpiringTokenOptionsError(
      stray,
      'unknown option',
      'Fix the spelling or remove it. An option that shapes the module, such as path, is given to forRootAsync beside the factory.',
    );
  }
  const secrets = parseSecrets(secret);
  const field = (option: string, value: unknown) =>
    checkPattern(
      option,
      value,
      /^(?!deviceName$)./,
      'Give the name of a JSON field of the credentials, not deviceName.',
    );
  if (usernameField === passwordField) {
    rejectOption('passwordField', passwordField, 'Give another field than usernameField names.');
  }
  const accessLifetime: Lifetime = Object.freeze({
    lifespanMs: parseDuration('lifespan', lifespan, { never: true }),
    idleMs: parseDuration('idle', idle, { never: true }),
  });
  const rotation = parseRefresh(refresh);
  // Without the option, refresh tokens that were issued while it was on live as long as they do by default.
  const refreshLifetime: Lifetime = (rotation ?? parseRefresh({})!).lifetime;
  return Object.freeze({
    accessLifetime,
    refreshLifetime,
    lastUsedAccuracyMs: parseLastUsedAccuracy(
      lastUsedAccuracy,
      Math.min(accessLifetime.idleMs, rotation ? refreshLifetime.idleMs : Infinity),
    ),
    refresh: rotation && Object.freeze({ graceMs: rotation.graceMs, header: rotation.header }),
    secrets,
    obtain: parseObtain(obtain, secrets.length > 0),
    limit: parseLimit(limit),
    loginThrottle: parseLoginThrottle(loginThrottle),
    usernameField: field('usernameField', usernameField),
    passwordField: field('passwordField', passwordField),
    schemes: parseSchemes(schemes),
    realm: checkPattern(
      'realm',
      realm,
      /^[\x20\x21\x23-\x5b\x5d-\x7e]+$/,
      'Give printable ASCII without " and \\, a character at least.',
    ),
    expiredStatus: checkOneOf('expiredStatus', expiredStatus, [401, 400] as const),
    prefix: checkPattern('prefix', prefix, /^[A-Za-z0-9_-]{1,20}$/, 'Give 1 to 20 letters, digits, _ or -.'),
    imported: parseImported(imported),
    cache: parseCache(cache),
    hashConcurrency:
      hashConcurrency === undefined ? null : checkInteger('hashConcurrency', hashConcurrency, 1, MAX_CONCURRENT_HASHES),
    prune: parsePrune(prune),
    timeoutMs: parseDuration('timeout', timeout),
  });
}
