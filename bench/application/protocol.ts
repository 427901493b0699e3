import type { Logins, Setting } from '../contestants/contestant.js';
import type { Role } from './roles.js';

/** Tells a child process which application to run. Sent as JSON in its first command-line argument. */
export interface Assignment {
  role: Role;
  setting: Setting;
  /** Number of users to create. With 0, the process uses the database that another process has filled. */
  userCount: number;
}

/** A message from the child process. */
export type Notice =
  { type: 'ready'; origin: string; logins: Logins } | { type: 'round-prepared' } | { type: 'failed'; reason: string };

/** A message to the child process. */
export type Request = 'prepare-round';
