/** Longest that a timer can wait: Node fires at once beyond it. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** A timer that is later than this was held up by the process, and not by whom it waits for. */
const LATE_TIMER_MS = 50;

/** The outcome of some work, or the reason of the signal if that comes first. */
export function raceAbort<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason as Error);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    const forget = () => signal.removeEventListener('abort', abort);
    work.then(resolve, reject).then(forget, forget);
  });
}

/**
 * Does work that is given up after some time. Time in which the process itself stood still is not counted: an answer that
 * came meanwhile is still to be read.
 *
 * @param timeoutMs - longest wait in milliseconds
 * @param work - is told by the signal when nobody waits for it any more
 * @param asked - who is waited for
 */
export async function withTimeout<T>(
  timeoutMs: number,
  work: (signal: AbortSignal) => Promise<T>,
  asked = 'the database',
): Promise<T> {
  const controller = new AbortController();
  let timer: NodeJS.Timeout;
  // Once over, and no more: a process that always stands still answers all the same.
  let spareMs = timeoutMs;
  const wait = (delayMs: number) => {
    const dueAtMs = performance.now() + delayMs;
    timer = setTimeout(() => {
      const lateMs = performance.now() - dueAtMs;
      const moreMs = Math.min(lateMs, spareMs);
      spareMs -= moreMs;
      if (lateMs > LATE_TIMER_MS && moreMs > 0) wait(moreMs);
      else controller.abort(new Error(`no answer from ${asked} within ${timeoutMs} ms`));
    }, delayMs);
  };
  wait(Math.min(timeoutMs, MAX_TIMER_MS));
  try {
    return await raceAbort(controller.signal, work(controller.signal));
  } finally {
    clearTimeout(timer!);
  }
}
