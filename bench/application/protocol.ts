import type { Logins, Setting } from '../contestants/contestant.js';
import type { Role } from './roles.js';

/** What a process is told to be, as JSON in its first parameter. */
export interface Assignment {
  role: Role;
  setting: Setting;
  /** With none, the database is taken as another process has filled it. */
  userCount: number;
}

export type Notice =
  { type: 'ready'; origin: string; logins: Logins } | { type: 'settled' } | { type: 'failed'; reason: string };

export type Request = 'settle';
