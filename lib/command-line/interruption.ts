import { interruptedBy } from './exit-codes.js';

/** Ends a long command early at the first SIGINT or SIGTERM. The second signal ends the process. */
export class Interruption {
  private readonly controller = new AbortController();
  /** Exit code of the process if it was interrupted. */
  exitCode: number | undefined;

  /** Listens from now on, and returns a signal that the first SIGINT or SIGTERM aborts. */
  listen(): AbortSignal {
    for (const name of ['SIGINT', 'SIGTERM'] as const) {
      process.once(name, () => {
        this.exitCode = interruptedBy(name);
        this.controller.abort();
      });
    }
    return this.controller.signal;
  }

  /** The member that a JSON result has if the command was interrupted. */
  get jsonMember(): { interrupted?: true } {
    return this.exitCode === undefined ? {} : { interrupted: true };
  }

  /** The end of the sentence that reports the result. */
  get suffix(): string {
    return this.exitCode === undefined ? '' : ', then interrupted';
  }
}
