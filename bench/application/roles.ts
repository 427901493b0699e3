import type { Contestant, Setting } from '../contestants/contestant.js';
import { ROSTER } from '../contestants/roster.js';

/** The applications that a child process can run: each contestant, and one application for each other measurement. */
export const ROLES = {
  ...ROSTER,
  revocation: { load: async () => (await import('../revocation/application.js')).application },
  storm: { load: async () => (await import('../storm/application.js')).application },
} satisfies Record<string, { load(): Promise<(setting: Setting) => Contestant> }>;

export type Role = keyof typeof ROLES;
