import { createSecretKey, type KeyObject } from 'node:crypto';
import {
  type ExpiringTokenOptions,
  ExpiringTokenOptionsError,
  type ExpiringTokenRoute,
  type ExpiringTokenStructuralOptions,
  type ObtainPolicy,
} from './expiring-token.options.js';
import { parseDuration, refuse, show } from './duration.js';
import { Token } from './tokens/token.entity.js';

/** RFC 2104 §3: an HMAC key shorter than the hash weakens it. */
const SHORTEST_SECRET_BYTES = 32;

/** The options as the package uses them: checked, with defaults, durations in milliseconds. */
export type ResolvedOptions = ReturnType<typeof resolveOptions>;

function matching(option: string, value: unknown, pattern: RegExp, remedy: string): string {
  return typeof value === 'string' && pattern.test(value) ? value : refuse(option, value, remedy);
}

function oneOf<T>(option: string, value: unknown, allowed: readonly T[]): T {
  return allowed.includes(value as T)
    ? (value as T)
    : refuse(option, value, `Give one of ${allowed.map(show).join(', ')}.`);
}

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

/** Every route, or group of routes, in the order of the documentation. */
const ROUTES: readonly ExpiringTokenRoute[] = ['login', 'obtain-token', 'token', 'logout', 'devices'];

/** The options that shape the module, as it uses them. Without `users` they are the built-in ones. */
export type Structure = Pick<ExpiringTokenStructuralOptions, 'users'> &
  Required<Omit<ExpiringTokenStructuralOptions, 'users' | 'routes'>> & { routes: readonly ExpiringTokenRoute[] };

/** Defaults of the structural options. */
export const STRUCTURE_DEFAULTS = {
  users: undefined,
  imports: [],
  path: 'auth',
  routes: ROUTES,
  isGlobal: false,
  globalGuard: false,
  dataSource: 'default',
  tokenEntity: Token,
} satisfies Record<keyof ExpiringTokenStructuralOptions, unknown>;

/**
 * Checks the options that shape the module, and fills in the defaults.
 *
 * @throws ExpiringTokenOptionsError naming the option, its value and the remedy
 */
export function resolveStructure(given: ExpiringTokenStructuralOptions): Structure {
  if (typeof given !== 'object' || given === null)
    refuse('options', given, 'Give a lifespan, or an object of options.');
  const defined = Object.entries(given).filter(
    ([option, value]) => option in STRUCTURE_DEFAULTS && value !== undefined,
  );
  const options: Omit<Structure, 'routes'> & Required<Pick<ExpiringTokenStructuralOptions, 'routes'>> = {
    ...STRUCTURE_DEFAULTS,
    ...Object.fromEntries(defined),
  };
  const { users, imports, path, routes, isGlobal, globalGuard, dataSource, tokenEntity } = options;
  if (users !== undefined && typeof users !== 'function') {
    refuse('users', users, 'Give an injectable class that implements UserStore, or what typeOrmUsers returns.');
  }
  if (!Array.isArray(imports)) refuse('imports', imports, 'Give a list of modules.');
  matching('path', path, /^[\w.~/-]*$/, "Give URL path segments, such as 'auth' or 'api/auth'.");
  if (routes !== false && !Array.isArray(routes)) {
    refuse('routes', routes, `Give false, or a list of ${ROUTES.map(show).join(', ')}.`);
  }
  const served = new Set(routes === false ? [] : routes.map((route) => oneOf('routes', route, ROUTES)));
  oneOf('isGlobal', isGlobal, [true, false]);
  oneOf('globalGuard', globalGuard, [true, false]);
  matching('dataSource', dataSource, /./, "Give the name of a data source, such as 'default'.");
  if (tokenEntity !== Token && !(typeof tokenEntity === 'function' && tokenEntity.prototype instanceof Token)) {
    refuse('tokenEntity', tokenEntity, 'Give an entity class that extends Token.');
  }
  return { ...options, routes: [...served] };
}

/** What stands beside the structural options in `forRootAsync`. */
const ASYNC_OPTIONS = ['imports', 'inject', 'useFactory', 'useClass', 'useExisting', 'provideInjectionTokensFrom'];

/**
 * {@link resolveStructure} for `forRootAsync`, beside whose factory any other option would have no effect.
 *
 * @throws ExpiringTokenOptionsError naming the option, its value and the remedy
 */
export function resolveAsyncStructure(given: ExpiringTokenStructuralOptions): Structure {
  const structure = resolveStructure(given);
  const stray = Object.keys(given).find((option) => !(option in STRUCTURE_DEFAULTS) && !ASYNC_OPTIONS.includes(option));
  if (stray !== undefined) {
    throw new ExpiringTokenOptionsError(
      stray,
      'it is no option beside the factory',
      'Mend its spelling, or return it from the factory.',
    );
  }
  return structure;
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
  for (const option of Object.keys(unknown)) {
    throw option in STRUCTURE_DEFAULTS
      ? new ExpiringTokenOptionsError(
          option,
          'it is needed before the factory runs',
          'Give it to forRootAsync beside the factory.',
        )
      : new ExpiringTokenOptionsError(option, 'there is no such option', 'Remove it, or mend its spelling.');
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
