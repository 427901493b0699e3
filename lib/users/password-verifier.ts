import { logUnverifiable, queued, verifyPassword } from './password-hash.js';

/**
 * Checks a password against a stored hash that is not an Argon2id PHC string, for example one by bcrypt. If it throws, the hash
 * counts as one that cannot be verified, and every password as wrong.
 */
export type VerifyHash = (hash: string, password: string) => boolean | Promise<boolean>;

const isOfOtherKind = (stored: unknown): stored is string =>
  typeof stored === 'string' && stored !== '' && !stored.startsWith('$argon2id$');

/** Verifies passwords against Argon2id hashes, and with a function of the application against hashes of another kind. */
export class PasswordVerifier {
  /** The last hash of another kind. It is verified for users without such a hash, and the result is ignored. */
  #sample: string | undefined;

  constructor(private readonly verifyOther: VerifyHash | undefined) {}

  /**
   * Returns whether a password matches a hash. With a function for hashes of another kind, each call computes one hash of either
   * kind, so that its duration tells neither whether the user exists nor what kind of hash is stored. Until this process has
   * seen a first hash of another kind, there is none to verify for other users.
   *
   * @param stored - the value in the user's row; null or undefined if there is no user or no password
   */
  async verify(stored: unknown, password: string): Promise<boolean> {
    const { verifyOther } = this;
    if (!verifyOther) return verifyPassword(stored, password);
    const other = isOfOtherKind(stored) ? stored : null;
    this.#sample = other ?? this.#sample;
    const isRight = await verifyPassword(other === null ? stored : null, password);
    const sample = this.#sample;
    if (sample === undefined) return isRight;
    const matches = await queued(() => this.#verifyOther(verifyOther, sample, password));
    if (other === null) return isRight;
    if (matches === null) logUnverifiable();
    return matches === true;
  }

  /** @returns null if the function throws */
  async #verifyOther(verifyOther: VerifyHash, stored: string, password: string): Promise<unknown> {
    try {
      return await verifyOther(stored, password);
    } catch {
      return null;
    }
  }
}
