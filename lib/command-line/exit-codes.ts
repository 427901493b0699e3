import { constants } from 'node:os';

/** The command succeeded. */
export const SUCCESS = 0;

/** The command failed, or did not find the user, device or file. A message on stderr says why. */
export const FAILURE = 1;

/** The arguments are invalid, and nothing was done. */
export const USAGE = 2;

/** The command was interrupted: 130 for Ctrl-C, 143 for SIGTERM, which is the convention of shells. */
export const interruptedBy = (signal: NodeJS.Signals): number => 128 + constants.signals[signal];
