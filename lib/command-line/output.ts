import { progress } from '@clack/prompts';
import { escapeForLog } from '../errors/describe-error.js';

/** A progress bar at a terminal; elsewhere it does nothing. */
export interface Progress {
  /**
   * @param done - how much of the total is done
   * @param message - text beside the bar
   */
  update(done: number, message: string): void;
  /** Removes the bar. It must be called, because the cursor stays hidden until then. */
  end(): void;
}

const NO_PROGRESS: Progress = { update: () => undefined, end: () => undefined };

/** Writes results to stdout, and everything else to stderr. */
export class Output {
  constructor() {
    // A failed write of a result rejects below. A failed write of a note cannot be reported anywhere.
    for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  }

  /**
   * Writes the result of a command.
   *
   * @param asJson - whether to write the document as JSON, instead of the lines
   * @returns see {@link write}
   */
  result(asJson: boolean | undefined, document: unknown, lines: readonly string[]): Promise<void> {
    // A name from the database may contain control sequences of the terminal.
    const text = asJson ? JSON.stringify(document) : lines.map(escapeForLog).join('\n');
    return this.write(`${text}\n`);
  }

  /**
   * Writes to stdout, and resolves when this text and everything before it are written.
   *
   * @throws Error if it cannot be written, for example because the disk is full
   */
  write(text = ''): Promise<void> {
    return new Promise((resolve, reject) => {
      process.stdout.write(text, (error?: NodeJS.ErrnoException | null) => {
        // The reader, for example `head`, has closed the pipe and needs no more.
        if (!error || error.code === 'EPIPE') resolve();
        else reject(new Error(`Cannot write to standard output: ${error.message}`, { cause: error }));
      });
    });
  }

  /** Writes a message for a person, beside the result. */
  note(text: string): void {
    process.stderr.write(`${escapeForLog(text)}\n`);
  }

  /**
   * Starts a progress bar.
   *
   * @param total - the number at which the bar is full; null if it is unknown, which shows no bar
   */
  progress(total: number | null): Progress {
    if (total === null || !isInteractive()) return NO_PROGRESS;
    const bar = progress({ max: total, output: process.stderr, withGuide: false, cancelMessage: 'Interrupted' });
    bar.start();
    // In raw mode the bar reads Ctrl-C itself and exits with success. Without it, the terminal sends SIGINT.
    process.stdin.setRawMode(false);
    let doneBefore = 0;
    return {
      update: (done, message) => {
        bar.advance(done - doneBefore, message);
        doneBefore = done;
      },
      // The result replaces the bar.
      end: () => bar.clear(),
    };
  }
}

/** Whether a person sees stderr. A terminal may report zero columns, on which nothing can be drawn. */
const isInteractive = (): boolean => process.stdin.isTTY && process.stderr.isTTY && process.stderr.columns > 0;
