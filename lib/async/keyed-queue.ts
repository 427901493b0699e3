/**
 * Runs tasks with the same key one after another in this process. For transactions, whose key is the user, this is more than
 * order: many simultaneous requests for one user occupy one database connection and wait here, instead of waiting on the
 * server with all connections of the pool.
 */
export class KeyedQueue {
  private readonly tails = new Map<string, Promise<unknown>>();

  /** Runs a task after all earlier ones with this key have ended. */
  async run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const turn = (this.tails.get(key) ?? Promise.resolve()).then(task);
    const tail = turn.catch(() => undefined);
    this.tails.set(key, tail);
    try {
      return await turn;
    } finally {
      if (this.tails.get(key) === tail) this.tails.delete(key);
    }
  }
}
