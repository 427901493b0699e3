import { MAX_TIMER_MS } from '../../async/with-timeout.js';
import { type AttemptCounter, refusedSlot, type Slot, type ThrottleOptions } from './attempt-counter.js';

interface Window {
  used: number;
  endsAtMs: number;
  timer: NodeJS.Timeout;
}

/**
 * Counts in this process. Windows are measured by a monotonic clock: setting the system clock forward must not erase the
 * failures that were counted.
 */
export class MemoryCounter implements AttemptCounter {
  private readonly windows = new Map<string, Window>();

  constructor(private readonly options: ThrottleOptions) {}

  async consume(key: string): Promise<Slot> {
    const window = this.windows.get(key) ?? this.open(key);
    if (window.used >= this.options.limit) return refusedSlot(window.endsAtMs - performance.now());
    window.used++;
    const refund = async () => {
      if (--window.used === 0) this.end(key, window);
    };
    return { refusedForMs: null, refund };
  }

  async clear(key: string): Promise<void> {
    const window = this.windows.get(key);
    if (window) this.end(key, window);
  }

  close(): void {
    for (const [key, window] of this.windows) this.end(key, window);
  }

  private open(key: string): Window {
    const ttlMs = Math.min(this.options.ttlMs, MAX_TIMER_MS);
    const timer = setTimeout(() => this.end(key, window), ttlMs).unref();
    const window = { used: 0, endsAtMs: performance.now() + ttlMs, timer };
    this.windows.set(key, window);
    return window;
  }

  private end(key: string, window: Window): void {
    clearTimeout(window.timer);
    if (this.windows.get(key) === window) this.windows.delete(key);
  }
}
