/** Maximum delay of a timer: with a longer one Node fires immediately. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** If a timer fires later than this, the process was blocked, and the time does not count against the awaited server. */
const LATE_TIMER_MS = 50;

/** Settles as the work does, or rejects with the signal's reason if it is aborted before. */
export function raceAbort<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason as Error);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    const cleanUp = () => signal.removeEventListener('abort', abort);
    work.then(resolve, reject).then(cleanUp, cleanUp);
  });
}

/**
 * Runs work with a time limit. Time in which the process itself was blocked is not counted: a response that arrived in the
 * meantime is still unread.
 *
 * @param timeoutMs - time limit in milliseconds
 * @param work - its signal is aborted when the time is over, so that it can release what it holds
 * @param awaited - what the work waits for, for the error's message
 */
export async function withTimeout<T>(
  timeoutMs: number,
  work: (signal: AbortSignal) => Promise<T>,
  awaited = 'the database',
): Promise<T> {
  const controller = new AbortController();
  let timer: NodeJS.Timeout;
  try {
    return await new Promise<T>((resolve, reject) => {
      const expire = (error: Error) => {
        controller.abort(error);
        reject(error);
      };
      // The extensions add up to at most one more time limit, so that a permanently blocked process still times out.
      let extensionMs = timeoutMs;
      const wait = (delayMs: number) => {
        const dueAtMs = performance.now() + delayMs;
        timer = setTimeout(() => {
          const lateMs = performance.now() - dueAtMs;
          const moreMs = Math.min(lateMs, extensionMs);
          extensionMs -= moreMs;
          if (lateMs > LATE_TIMER_MS && moreMs > 0) wait(moreMs);
          else expire(new Error(`no answer from ${awaited} within ${timeoutMs} ms`));
        }, delayMs);
      };
      wait(Math.min(timeoutMs, MAX_TIMER_MS));
      work(controller.signal).then(resolve, reject);
    });
  } finally {
    clearTimeout(timer!);
  }
}
