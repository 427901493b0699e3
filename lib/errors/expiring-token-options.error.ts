/**
 * Thrown at start-up: a bad option, or an application that cannot work with the options given. Also by `issue`, for a
 * lifespan that is none.
 */
export class ExpiringTokenOptionsError extends Error {
  /** By which it is known where `instanceof` does not reach: in logs, in another copy of the package. */
  override readonly name = 'ExpiringTokenOptionsError';

  /**
   * @param option - its name
   * @param problem - what is wrong with it
   * @param remedy - what to do
   */
  constructor(option: string, problem: string, remedy: string) {
    super(`ExpiringTokenModule: ${option}: ${problem}. ${remedy}`);
  }
}
