import cluster from 'node:cluster';

/** What a process counted since it started. */
export interface Figures {
  requests: number;
  /** Requests whose token was in the cache. */
  cacheHits: number;
  /** Requests whose token was looked up in the database. */
  lookUps: number;
  /** Messages from Redis that a user's tokens changed. */
  revocations: number;
}

/** A moment in the life of a revocation, in milliseconds of the machine's clock. */
interface Moment {
  userId: string;
  atMs: number;
}

/** A message from a worker to the primary. */
export type Report = { figures: Figures } | { published: Moment } | { received: Moment };

/** A line of the page. */
export interface ProcessStatus extends Figures {
  /** 1 to 4. A restarted process takes the number of the one that ended. */
  number: number;
  pid: number;
  /** Delay between publishing and receiving of the last revocation; null before the first one. */
  lastDelayMs: number | null;
}

/** Sends a message to the primary, if there is one. */
export function report(message: Report): void {
  cluster.worker?.send(message);
}
