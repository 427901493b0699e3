/** What the option `cache` saves one process, and whether it can: counted since the process started. */
export interface CacheStatus {
  /**
   * Whether tokens are remembered now. False without the option `cache`, and while its `redis` is not heard: each request
   * is looked up then.
   */
  isOpen: boolean;

  /** Tokens that are remembered; at most the option `cache.max`. */
  size: number;

  /** Requests that asked the database nothing: their token was remembered, or being looked up for another one. */
  hits: number;

  /** Tokens that were looked up in the database; those of one moment are asked for together. */
  lookUps: number;

  /** How often Redis told that tokens were revoked or changed, by this process or another. */
  revocations: number;
}
