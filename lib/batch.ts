/** Somebody who waits for a value. */
interface Waiting<Key, Value> {
  readonly key: Key;
  readonly resolve: (value: Value | Promise<Value>) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Asks at once for all that is asked for in one turn of the event loop, when the turn ends; in a long turn for some of it
 * before, so that it is worked on meanwhile. Nothing is kept: what is asked for later is asked for anew.
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
      const { waiting } = this;
      const length = waiting.push({ key, resolve, reject });
      if (length === this.largest) this.send(waiting);
      else if (length === 1) setImmediate(() => this.send(waiting));
    });
  }

  private send(waiting: readonly Waiting<Key, Value>[]): void {
    if (this.waiting !== waiting) return;
    this.waiting = [];
    void this.settle(waiting);
  }

  private async settle(waiting: readonly Waiting<Key, Value>[]): Promise<void> {
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
