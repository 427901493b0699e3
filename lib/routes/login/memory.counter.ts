import { MAX_TIMER_MS } from '../../async/with-timeout.js';
import { type AttemptCounter, refusedSlot, type Slot, type ThrottleOptions } from './attempt-counter.js';

interface Window {
  used: number;
  /** How many of them each member uses. */
  readonly members: Map<string, { used: number }>;
  readonly endsAtMs: number;
  readonly timer: NodeJS.Timeout;
}

/**
 * Counts in this process. Windows are measured by a monotonic clock: setting the system clock forward must not erase the
 * failures that were counted.
 */
export class MemoryCounter implements AttemptCounter {
  private readonly windows = new Map<string, Window>();

  constructor(private readonly options: ThrottleOptions) {}

  async consume(key: string, member: string): Promise<Slot> {
    const window = this.windows.get(key) ?? this.open(key);
    if (window.used >= this.options.limit) return refusedSlot(window.endsAtMs - performance.now());
    const slots = window.members.get(member) ?? { used: 0 };
    window.members.set(member, slots);
    slots.used++;
    window.used++;
    const refund = async () => {
      // The slots of a member that was cleared are returned already.
      if (window.members.get(member) !== slots) return;
      slots.used--;
      this.release(key, window, 1);
    };
    return { refusedForMs: null, refund };
  }

  async clear(key: string, member: string): Promise<void> {
    const window = this.windows.get(key);
    const slots = window?.members.get(member);
    if (!window || !slots) return;
    window.members.delete(member);
    this.release(key, window, slots.used);
  }

  close(): void {
    for (const [key, window] of this.windows) this.end(key, window);
  }

  private open(key: string): Window {
    const ttlMs = Math.min(this.options.ttlMs, MAX_TIMER_MS);
    const timer = setTimeout(() => this.end(key, window), ttlMs).unref();
    const window: Window = { used: 0, members: new Map(), endsAtMs: performance.now() + ttlMs, timer };
    this.windows.set(key, window);
    return window;
  }

  private release(key: string, window: Window, count: number): void {
    window.used -= count;
    if (window.used === 0) this.end(key, window);
  }

  private end(key: string, window: Window): void {
    clearTimeout(window.timer);
    if (this.windows.get(key) === window) this.windows.delete(key);
  }
}
