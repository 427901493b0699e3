import cluster from 'node:cluster';

/** What a process counted since it started. */
export interface Figures {
  requests: number;
  /** Of a token that was remembered. */
  cacheHits: number;
  /** Of a token that was looked up in the database. */
  lookUps: number;
  /** How often Redis told that a user's tokens changed. */
  revocations: number;
}

/** A moment in the life of a revocation, in milliseconds of the machine's clock. */
export interface Moment {
  userId: string;
  atMs: number;
}

/** What a worker tells the primary. */
export type Report = { figures: Figures } | { told: Moment } | { heard: Moment };

/** A line of the page. */
export interface ProcessStatus extends Figures {
  /** 1 to 4: one that was restarted takes the place of the one that ended. */
  number: number;
  pid: number;
  /** From the telling of the last revocation that it heard to the hearing; null before the first one. */
  lastDelayMs: number | null;
}

/** Tells the primary; nobody where there is none. */
export function report(message: Report): void {
  cluster.worker?.send(message);
}
