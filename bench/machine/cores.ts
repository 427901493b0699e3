/** The application that is measured has one core alone. */
export const SERVER_CORE = 0;
/** The load, the database and Redis share the other. */
export const LOAD_CORE = 1;

/** A command on one core, or on all of them. */
export function pinned(core: number | undefined, program: string, ...parameters: string[]): [string, string[]] {
  return core === undefined ? [program, parameters] : ['taskset', ['-c', String(core), program, ...parameters]];
}
