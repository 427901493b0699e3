import type { ResolvedOptions } from '../../options/resolve-options.js';

/** How many attempts each key may make, and for how long an attempt is counted. */
export type ThrottleOptions = NonNullable<ResolvedOptions['loginThrottle']>;

/** The result of asking a counter for a slot. */
export interface Slot {
  /** Time in milliseconds until a slot becomes free; null if the attempt has taken a slot. */
  refusedForMs: number | null;
  /** Returns the slot, as if the attempt had never been counted. */
  refund(): Promise<void>;
}

/** The slot of an attempt that was refused: there is nothing to return. */
export const refusedSlot = (refusedForMs: number): Slot => ({ refusedForMs, refund: async () => undefined });

/**
 * Counts attempts in windows of a fixed length. All members of a key share its slots; each member can return its own. The window of a key begins with the first attempt. Only `connect` rejects: a
 * failing counter must not fail a login.
 */
export interface AttemptCounter {
  /** Connects to the server that counts, if there is one. */
  connect?(): Promise<void>;
  /** Takes a slot of the key for one of its members, if one is left. */
  consume(key: string, member: string): Promise<Slot>;
  /** Returns all slots that a member of the key has taken. */
  clear(key: string, member: string): Promise<void>;
  /** Discards what this process has counted, its timers and its connection. */
  close(): void;
}
