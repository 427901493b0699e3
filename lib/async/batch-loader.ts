/** A call of {@link BatchLoader.load} that waits for its value. */
interface PendingLoad<Key, Value> {
  readonly key: Key;
  readonly resolve: (value: Value | Promise<Value>) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * With this many keys, a batch is sent before the turn of the event loop ends, unless another batch is on its way. So during a
 * long turn the database works already.
 */
const EARLY_DISPATCH_SIZE = 16;

/**
 * Collects the keys that are loaded in one turn of the event loop, and loads them as one batch when the turn ends. Nothing is
 * cached: the same key in a later turn is loaded again.
 */
export class BatchLoader<Key, Value> {
  private pending: PendingLoad<Key, Value>[] = [];
  private runningBatches = 0;

  /**
   * @param batchLoadFn - loads the values of some keys, which may repeat. Resolves to a function that returns the value of one
   * key; an error that it throws rejects only the loads of that key
   * @param maxBatchSize - maximum number of keys in one batch
   */
  constructor(
    private readonly batchLoadFn: (keys: readonly Key[]) => Promise<(key: Key) => Value | Promise<Value>>,
    private readonly maxBatchSize: number,
  ) {}

  /** Loads the value of a key, together with all keys of this turn. */
  load(key: Key): Promise<Value> {
    return new Promise((resolve, reject) => {
      const batch = this.pending;
      const size = batch.push({ key, resolve, reject });
      if (size === this.maxBatchSize) this.dispatch(batch);
      else if (size === 1) setImmediate(() => this.dispatch(batch));
      // After the current callback, so that all keys of a list which it loads are in the batch.
      else if (size === EARLY_DISPATCH_SIZE && this.runningBatches === 0) process.nextTick(() => this.dispatch(batch));
    });
  }

  private dispatch(batch: readonly PendingLoad<Key, Value>[]): void {
    // The batch was dispatched before, because it was full.
    if (this.pending !== batch) return;
    this.pending = [];
    void this.resolveAll(batch);
  }

  private async resolveAll(batch: readonly PendingLoad<Key, Value>[]): Promise<void> {
    this.runningBatches++;
    try {
      const valueOf = await this.batchLoadFn(batch.map(({ key }) => key));
      for (const { key, resolve, reject } of batch) {
        try {
          resolve(valueOf(key));
        } catch (error) {
          reject(error);
        }
      }
    } catch (error) {
      for (const { reject } of batch) reject(error);
    } finally {
      this.runningBatches--;
    }
  }
}
