import { createSecretKey, type KeyObject } from 'node:crypto';
import type { ExpiringTokenOptions, ObtainPolicy } from './expiring-token.options.js';
import { parseDuration } from './duration.js';
import { ExpiringTokenOptionsError, matching, oneOf, refuse } from './option-checks.js';

/** RFC 2104 §3: an HMAC key shorter than the hash weakens it. */
const SHORTEST_SECRET_BYTES = 32;

/** The options as the package uses them: checked, with defaults, durations in milliseconds. */
export type ResolvedOptions = ReturnType<typeof resolveOptions>;

function parseSecrets(value: unknown): readonly KeyObject[] {
  const secrets: unknown[] = value === undefined ? [] : Array.isArray(value) ? value : [value];
  const remedy = `Give a random string of at least ${SHORTEST_SECRET_BYTES} bytes, or a list of them, the newest first.`;
  if (value !== undefined && secrets.length === 0) refuse('secret', '[]', remedy);
  return Object.freeze(
    secrets.map((secret) => {
      // The value is a secret: the error tells only its kind or length.
      if (typeof secret !== 'string') return refuse('secret', `a ${secret === null ? 'null' : typeof secret}`, remedy);
      const bytes = Buffer.byteLength(secret);
      return bytes < SHORTEST_SECRET_BYTES
        ? refuse('secret', `a secret of ${bytes} bytes`, remedy)
        : createSecretKey(secret, 'utf8');
    }),
  );
}

function parseObtain(value: unknown, hasSecret: boolean): ObtainPolicy {
  if (value === undefined) return hasSecret ? 'reuse' : 'replace';
  const policy = oneOf('obtain', value, ['reuse', 'renew', 'replace'] as const);
  if (policy !== 'replace' && !hasSecret) {
    refuse('obtain', policy, "Give secret as well, without which a token cannot be shown again, or 'replace'.");
  }
  return policy;
}

function parseSchemes(value: unknown): readonly string[] {
  // RFC 9110 §5.6.2: a scheme is a token.
  const isScheme = (scheme: unknown) => typeof scheme === 'string' && /^[\w!#$%&'*+.^`|~-]+$/.test(scheme);
  if (!Array.isArray(value) || value.length === 0 || !value.every(isScheme)) {
    refuse('schemes', value, "Give a list of scheme names, such as ['Bearer', 'Token'].");
  }
  return Object.freeze([...(value as string[])]);
}

/**
 * Checks the options and fills in the defaults, once, at start-up.
 *
 * @throws ExpiringTokenOptionsError naming the option, its value and the remedy
 */
export function resolveOptions(options: ExpiringTokenOptions) {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    refuse('options', options, 'Give an object of options.');
  }
  const {
    lifespan = '30d',
    secret,
    obtain,
    usernameField = 'username',
    passwordField = 'password',
    schemes = ['Bearer'],
    realm = 'api',
    expiredStatus = 401,
    prefix = 'ext_',
    timeout = '2s',
    ...unknown
  } = options;
  const [stray] = Object.keys(unknown);
  if (stray !== undefined) {
    throw new ExpiringTokenOptionsError(
      stray,
      'there is no such option here',
      'Mend its spelling, remove it, or give it to forRootAsync beside the factory if it shapes the module.',
    );
  }
  const secrets = parseSecrets(secret);
  const field = (option: string, value: unknown) =>
    matching(option, value, /./, 'Give the name of a JSON field of the credentials.');
  if (usernameField === passwordField) {
    refuse('passwordField', passwordField, 'Give another field than usernameField names.');
  }
  return Object.freeze({
    lifespanMs: parseDuration('lifespan', lifespan, true),
    secrets,
    obtain: parseObtain(obtain, secrets.length > 0),
    usernameField: field('usernameField', usernameField),
    passwordField: field('passwordField', passwordField),
    schemes: parseSchemes(schemes),
    realm: matching('realm', realm, /^[\x20\x21\x23-\x5b\x5d-\x7e]+$/, 'Give printable ASCII without " and \\.'),
    expiredStatus: oneOf('expiredStatus', expiredStatus, [401, 400] as const),
    prefix: matching('prefix', prefix, /^[A-Za-z0-9_-]{1,20}$/, 'Give 1 to 20 letters, digits, _ or -.'),
    timeoutMs: parseDuration('timeout', timeout),
  });
}
