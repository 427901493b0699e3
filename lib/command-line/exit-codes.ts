import { constants } from 'node:os';

/** It was done. */
export const SUCCESS = 0;

/** It was tried and failed, or there is no such thing: a message on stderr says which. */
export const FAILURE = 1;

/** The command line is wrong, and nothing was tried. */
export const USAGE = 2;

/** It was interrupted: 130 by Ctrl-C, 143 by SIGTERM, as shells have it. */
export const interruptedBy = (signal: NodeJS.Signals): number => 128 + constants.signals[signal];
