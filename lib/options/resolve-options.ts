import { createSecretKey, type KeyObject } from 'node:crypto';
import ms from 'ms';
import { ExpiringTokenOptionsError } from '../errors/expiring-token-options.error.js';
import { parseDuration, parseLifetime } from './duration.js';
import type { ExpiringTokenOptions, ImportedShape, ObtainPolicy } from './expiring-token.options.js';
import { checkInteger, checkOneOf, checkPattern, rejectOption } from './option-checks.js';
import {
  parseCache,
  parseLimit,
  parseLoginThrottle,
  parsePasswords,
  parsePersonal,
  parsePrefix,
  parsePrune,
  parseRefresh,
} from './resolve-nested-options.js';
import { parseCatalogue } from './scopes.js';

/** RFC 2104 §3: an HMAC key that is shorter than the hash weakens it. */
const MIN_SECRET_BYTES = 32;

/** Maximum number of threads of libuv. */
const MAX_CONCURRENT_HASHES = 1024;

/** How long tokens are valid, in milliseconds; `Infinity` means that there is no end. */
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
  if (value !== undefined && secrets.length === 0) rejectOption('secret', secrets, remedy);
  return Object.freeze(
    secrets.map((secret) => {
      const isLongEnough = typeof secret === 'string' && Buffer.byteLength(secret) >= MIN_SECRET_BYTES;
      return isLongEnough ? createSecretKey(secret, 'utf8') : rejectOption('secret', secret, remedy);
    }),
  );
}

function parseObtain(value: unknown, hasSecret: boolean): ObtainPolicy {
  if (value === undefined) return hasSecret ? 'reuse' : 'replace';
  const policy = checkOneOf('obtain', value, ['reuse', 'renew', 'replace'] as const);
  if (policy !== 'replace' && !hasSecret) {
    rejectOption(
      'obtain',
      policy,
      "Give secret as well, without which a token cannot be returned again, or 'replace'.",
    );
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

function parseFieldName(option: string, value: unknown): string {
  const remedy = 'Give the name of a JSON field of the credentials, not deviceName.';
  return checkPattern(option, value, /^(?!deviceName$)./, remedy);
}

function parseResourceMetadata(value: unknown): string {
  const remedy = "Give an absolute URL, such as 'https://api.example.com/.well-known/oauth-protected-resource'.";
  // The URL stands in a challenge between quotation marks. RFC 9728 §3.1 requires https.
  const url = checkPattern('resourceMetadata', value, /^https:\/\/[\x21\x23-\x5b\x5d-\x7e]+$/, remedy);
  return URL.canParse(url) ? url : rejectOption('resourceMetadata', value, remedy);
}

function parseLastUsedAccuracy(value: unknown, shortestIdleMs: number): number {
  if (value === undefined) return Math.max(1, Math.min(ms('30m'), Math.floor(shortestIdleMs / 2)));
  const accuracyMs = parseDuration('lastUsedAccuracy', value);
  return accuracyMs < shortestIdleMs
    ? accuracyMs
    : rejectOption(
        'lastUsedAccuracy',
        value,
        'Give less than idle and refresh.idle: otherwise a token in use would expire before its use is recorded.',
      );
}

function parseImported(value: unknown): readonly ImportedShape[] {
  if (!Array.isArray(value)) return rejectOption('imported', value, "Give a list of 'drf' and 'sanctum'.");
  return Object.freeze(value.map((shape: unknown) => checkOneOf('imported', shape, ['drf', 'sanctum'] as const)));
}

/**
 * Checks the options and fills in the defaults, once, at start-up.
 *
 * @throws ExpiringTokenOptionsError that names the option, its value and the remedy
 */
export function resolveOptions(options: ExpiringTokenOptions) {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    rejectOption('options', options, 'Give an object of options.');
  }
  const {
    refresh = false,
    personal = false,
    lifespan = refresh === false ? '30d' : '1h',
    idle = null,
    lastUsedAccuracy,
    secret,
    obtain,
    limit = null,
    loginThrottle = {},
    usernameField = 'username',
    passwordField = 'password',
    passwords = {},
    schemes = ['Bearer'],
    realm = 'api',
    resourceMetadata,
    expiredStatus = 401,
    prefix = 'ext_',
    imported = [],
    scopes,
    cache = false,
    hashConcurrency,
    namespace,
    prune = {},
    timeout = '2s',
    ...unknown
  } = options;
  const [firstUnknown] = Object.keys(unknown);
  if (firstUnknown !== undefined) {
    throw new ExpiringTokenOptionsError(
      firstUnknown,
      'unknown option',
      'Fix the spelling or remove it. An option that shapes the module, such as path, is given to forRootAsync beside the factory.',
    );
  }
  if (usernameField === passwordField) {
    rejectOption('passwordField', passwordField, 'Give another field than usernameField.');
  }
  const secrets = parseSecrets(secret);
  const accessLifetime: Lifetime = Object.freeze({
    lifespanMs: parseLifetime('lifespan', lifespan, { never: true }),
    idleMs: parseLifetime('idle', idle, { never: true }),
  });
  const rotation = parseRefresh(refresh);
  // If the option was switched off, refresh tokens that were issued before expire after the default lifetime.
  const refreshLifetime: Lifetime = (rotation ?? parseRefresh({})!).lifetime;
  const loginPrefix = parsePrefix('prefix', prefix);
  const personalTokens = parsePersonal(personal, loginPrefix);
  return Object.freeze({
    accessLifetime,
    refreshLifetime,
    /** Every personal token has a lifespan of its own: if one has none, its row is damaged, and the token is expired. */
    personalLifetime: Object.freeze({ lifespanMs: 0, idleMs: accessLifetime.idleMs }) satisfies Lifetime,
    lastUsedAccuracyMs: parseLastUsedAccuracy(
      lastUsedAccuracy,
      Math.min(accessLifetime.idleMs, rotation ? refreshLifetime.idleMs : Infinity),
    ),
    refresh: rotation && Object.freeze({ graceMs: rotation.graceMs, header: rotation.header }),
    secrets,
    obtain: parseObtain(obtain, secrets.length > 0),
    limit: parseLimit(limit),
    loginThrottle: parseLoginThrottle(loginThrottle),
    usernameField: parseFieldName('usernameField', usernameField),
    passwordField: parseFieldName('passwordField', passwordField),
    passwords: parsePasswords(passwords),
    schemes: parseSchemes(schemes),
    realm: checkPattern(
      'realm',
      realm,
      /^[\x20\x21\x23-\x5b\x5d-\x7e]+$/,
      'Give at least one character of printable ASCII, without " and \\.',
    ),
    resourceMetadata: resourceMetadata === undefined ? null : parseResourceMetadata(resourceMetadata),
    expiredStatus: checkOneOf('expiredStatus', expiredStatus, [401, 400] as const),
    prefix: loginPrefix,
    personal: personalTokens,
    /** The starts of all tokens that authenticate. */
    prefixes: Object.freeze(personalTokens ? [loginPrefix, personalTokens.prefix] : [loginPrefix]),
    imported: parseImported(imported),
    /** Null without a catalogue: then every scope is known. */
    scopes: parseCatalogue(scopes),
    cache: parseCache(cache),
    hashConcurrency:
      hashConcurrency === undefined ? null : checkInteger('hashConcurrency', hashConcurrency, 1, MAX_CONCURRENT_HASHES),
    namespace:
      namespace === undefined
        ? null
        : checkPattern('namespace', namespace, /^[\w.:-]{1,64}$/, 'Give 1 to 64 letters, digits, ., :, _ or -.'),
    prune: parsePrune(prune),
    timeoutMs: parseDuration('timeout', timeout),
  });
}
