/** Somebody who waits for a value. */
interface Waiting<Key, Value> {
  readonly key: Key;
  readonly resolve: (value: Value | Promise<Value>) => void;
  readonly reject: (error: unknown) => void;
}

/** As many as these are asked for before the turn ends, if nobody works on others meanwhile. */
const EARLY_DISPATCH_SIZE = 16;

/**
 * Asks at once for all that is asked for in one turn of the event loop, when the turn ends; in a long turn for some of it
 * before, so that whoever is asked works on it meanwhile. Nothing is kept: what is asked for later is asked for anew.
 */
export class BatchLoader<Key, Value> {
  private waiting: Waiting<Key, Value>[] = [];
  /** How often it was asked without an answer yet. */
  private pendingBatches = 0;

  /**
   * @param batchLoadFn - asks for the values of some keys, equal ones among them. What it returns tells one of them: if it throws,
   * it throws for that one alone
   * @param maxBatchSize - how many keys are asked for at once, at most
   */
  constructor(
    private readonly batchLoadFn: (keys: readonly Key[]) => Promise<(key: Key) => Value | Promise<Value>>,
    private readonly maxBatchSize: number,
  ) {}

  load(key: Key): Promise<Value> {
    return new Promise((resolve, reject) => {
      const { waiting } = this;
      const length = waiting.push({ key, resolve, reject });
      if (length === this.maxBatchSize) this.dispatch(waiting);
      else if (length === 1) setImmediate(() => this.dispatch(waiting));
      // With those that are asked for in the same breath, such as all of a list.
      else if (length === EARLY_DISPATCH_SIZE && this.pendingBatches === 0)
        process.nextTick(() => this.dispatch(waiting));
    });
  }

  private dispatch(waiting: readonly Waiting<Key, Value>[]): void {
    if (this.waiting !== waiting) return;
    this.waiting = [];
    void this.resolveAll(waiting);
  }

  private async resolveAll(waiting: readonly Waiting<Key, Value>[]): Promise<void> {
    this.pendingBatches++;
    try {
      const tell = await this.batchLoadFn(waiting.map(({ key }) => key));
      for (const { key, resolve, reject } of waiting) {
        try {
          resolve(tell(key));
        } catch (error) {
          reject(error);
        }
      }
    } catch (error) {
      for (const { reject } of waiting) reject(error);
    } finally {
      this.pendingBatches--;
    }
  }
}
