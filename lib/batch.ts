/** Somebody who waits for a value. */
interface Waiting<Key, Value> {
  readonly key: Key;
  readonly resolve: (value: Value | Promise<Value>) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Asks at once for all that is asked for in one turn of the event loop, when the turn ends. Nothing is kept: what is asked
 * for in the next turn is asked for anew.
 */
export class Batch<Key, Value> {
  private waiting: Waiting<Key, Value>[] = [];

  /**
   * @param ask - asks for the values of some keys, equal ones among them. What it returns tells one of them: if it throws,
   * it throws for that one alone
   * @param largest - how many keys are asked for at once
   */
  constructor(
    private readonly ask: (keys: readonly Key[]) => Promise<(key: Key) => Value | Promise<Value>>,
    private readonly largest: number,
  ) {}

  get(key: Key): Promise<Value> {
    return new Promise((resolve, reject) => {
      if (this.waiting.length === this.largest) this.waiting = [];
      const { waiting } = this;
      if (waiting.push({ key, resolve, reject }) === 1) setImmediate(() => this.settle(waiting));
    });
  }

  private async settle(waiting: readonly Waiting<Key, Value>[]): Promise<void> {
    if (this.waiting === waiting) this.waiting = [];
    try {
      const tell = await this.ask(waiting.map(({ key }) => key));
      for (const { key, resolve, reject } of waiting) {
        try {
          resolve(tell(key));
        } catch (error) {
          reject(error);
        }
      }
    } catch (error) {
      for (const { reject } of waiting) reject(error);
    }
  }
}
