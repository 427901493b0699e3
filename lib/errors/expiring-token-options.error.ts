/**
 * Thrown at start-up if an option is invalid, or if the application cannot work with its options. Also thrown by
 * `ExpiringTokenService.issue` if its `lifespan` is invalid.
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
