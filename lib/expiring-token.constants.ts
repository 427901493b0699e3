/** Name under which the Passport strategy is registered, for `AuthGuard('expiring-token')`. */
export const STRATEGY_NAME = 'expiring-token';

/** Injection tokens of the module's own providers. */
export const MODULE_EXTRAS = Symbol('EXPIRING_TOKEN_STRUCTURE');
export const RESOLVED_OPTIONS = Symbol('EXPIRING_TOKEN_RESOLVED_OPTIONS');
export const DATA_SOURCE = Symbol('EXPIRING_TOKEN_DATA_SOURCE');
export const DATABASE = Symbol('EXPIRING_TOKEN_DATABASE');
export const USER_STORE = Symbol('EXPIRING_TOKEN_USER_STORE');
/**
 * Injection token of the {@link Clock}. Of a real application under test, `overrideProvider(CLOCK)` replaces it, by
 * `() => clock.now` of a `TestClock` say.
 */
export const CLOCK = Symbol('EXPIRING_TOKEN_CLOCK');

/** The present in milliseconds since the epoch. Injected, so that tests move time and never wait for it. */
export type Clock = () => number;
