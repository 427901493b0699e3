/** One of this many waiting tasks goes on in a turn, so that the wait of the last one is at most about as many turns long. */
const WAITING_PER_TASK = 256;

/**
 * Spreads tasks that arrive at the same time over the next turns of the event loop, in the order of their arrival, so that other
 * tasks run in between: one in each turn, or a few if the queue is long.
 */
export class TurnQueue {
  private readonly waiting: (() => void)[] = [];

  /** Resolves in a later turn of the event loop. */
  next(): Promise<void> {
    return new Promise((resolve) => {
      if (this.waiting.push(resolve) === 1) this.schedule();
    });
  }

  private schedule(): void {
    setImmediate(() => {
      for (const resolve of this.waiting.splice(0, Math.ceil(this.waiting.length / WAITING_PER_TASK))) resolve();
      if (this.waiting.length > 0) this.schedule();
    });
  }
}
