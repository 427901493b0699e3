/** The measured application has this core for itself. */
export const SERVER_CORE = 0;
/** The load generator, the database and Redis share this core. */
export const LOAD_CORE = 1;

/** Returns a command that runs a program on one core, or on all cores if `core` is undefined. */
export function pinned(core: number | undefined, program: string, ...parameters: string[]): [string, string[]] {
  return core === undefined ? [program, parameters] : ['taskset', ['-c', String(core), program, ...parameters]];
}
