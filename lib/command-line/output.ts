import { progress } from '@clack/prompts';
import { escapeForLog } from '../errors/describe-error.js';

/** A bar that fills, where there is a terminal to draw it on; nothing elsewhere. */
export interface Progress {
  /**
   * @param done - how much of the whole
   * @param message - stands beside the bar
   */
  update(done: number, message: string): void;
  /** Must be called, or the cursor stays hidden. */
  end(): void;
}

const NO_PROGRESS: Progress = { update: () => undefined, end: () => undefined };

/** All that the program says: results on stdout, everything else on stderr. */
export class Output {
  constructor() {
    // The write of a result tells of its failure. Where a note cannot be written nobody can be told.
    for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  }

  /**
   * What a command found out.
   *
   * @param asJson - as one document for a program, and not as lines for people
   * @returns as {@link written}
   */
  result(asJson: boolean | undefined, document: unknown, lines: readonly string[]): Promise<void> {
    // A name in a database of the application's may hold what would move the cursor.
    const text = asJson ? JSON.stringify(document) : lines.map(escapeForLog).join('\n');
    return this.written(`${text}\n`);
  }

  /**
   * Resolves when stdout has a text, and all before it.
   *
   * @throws Error where it cannot be written: the disk is full, say
   */
  written(text = ''): Promise<void> {
    return new Promise((resolve, reject) => {
      process.stdout.write(text, (error?: NodeJS.ErrnoException | null) => {
        // Whoever read it went away, `head` say, and wants no more.
        if (!error || error.code === 'EPIPE') resolve();
        else reject(new Error(`Cannot write to standard output: ${error.message}`, { cause: error }));
      });
    });
  }

  /** What a person should know beside the result. */
  note(text: string): void {
    process.stderr.write(`${escapeForLog(text)}\n`);
  }

  /** Shows how far something is. @param whole - how much there is; null where nobody knows, and no bar can be drawn */
  progress(whole: number | null): Progress {
    if (whole === null || !isInteractive()) return NO_PROGRESS;
    const bar = progress({ max: whole, output: process.stderr, withGuide: false, cancelMessage: 'Interrupted' });
    bar.start();
    // The bar ends the process, with success, when it reads Ctrl-C; a terminal that is not raw makes a signal of it.
    process.stdin.setRawMode(false);
    let shown = 0;
    return {
      update: (done, message) => {
        bar.advance(done - shown, message);
        shown = done;
      },
      // The result says it all.
      end: () => bar.clear(),
    };
  }
}

/** Whether somebody sits at it, who sees what is drawn on stderr. A terminal may say that it has no columns to draw on. */
const isInteractive = (): boolean => process.stdin.isTTY && process.stderr.isTTY && process.stderr.columns > 0;
