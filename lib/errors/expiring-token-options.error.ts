/**
 * Thrown at start-up if an option is invalid, or if the application cannot work with its options. Also thrown by
 * `ExpiringTokenService.issue` if its `lifespan` or its `scopes` are invalid.
 */
export class ExpiringTokenOptionsError extends Error {
  /** Identifies the error if `instanceof` cannot: in a log, or if the package is installed twice. */
  override readonly name = 'ExpiringTokenOptionsError';

  /**
   * @param option - name of the option
   * @param problem - what is wrong, without a secret
   * @param remedy - what to do
   */
  constructor(option: string, problem: string, remedy: string) {
    super(`ExpiringTokenModule: ${option}: ${problem}. ${remedy}`);
  }
}

/** The remedy for two copies of the package, whose classes have the same names and are different. */
export const LIST_COPIES =
  'If the package is installed twice, "npm ls nestjs-expiring-token" lists the copies: all must be one.';
