/** Name of the Passport strategy, for `AuthGuard('expiring-token')`. */
export const STRATEGY_NAME = 'expiring-token';

/** Injection token of the structural options, such as `path` and `globalGuard`. */
export const MODULE_EXTRAS = Symbol('EXPIRING_TOKEN_MODULE_EXTRAS');
/** Injection token of the runtime options, checked and with defaults. */
export const RESOLVED_OPTIONS = Symbol('EXPIRING_TOKEN_RESOLVED_OPTIONS');
/** Injection token of the TypeORM data source with the tokens. */
export const DATA_SOURCE = Symbol('EXPIRING_TOKEN_DATA_SOURCE');
/** Injection token of the `Database` on that data source. */
export const DATABASE = Symbol('EXPIRING_TOKEN_DATABASE');
/** Injection token of the namespace: the start of all names on servers that applications share. See the option `namespace`. */
export const NAMESPACE = Symbol('EXPIRING_TOKEN_NAMESPACE');
/** Injection token of the `UserStore`. */
export const USER_STORE = Symbol('EXPIRING_TOKEN_USER_STORE');
/**
 * Injection token of the {@link Clock}. In a test of a real application, `overrideProvider(CLOCK)` replaces it, for example by
 * `() => testClock.now`.
 */
export const CLOCK = Symbol('EXPIRING_TOKEN_CLOCK');

/** Returns the current time in milliseconds since the epoch. It is injected, so that tests need not wait for time to pass. */
export type Clock = () => number;
