import { HttpException, Logger } from '@nestjs/common';
import { ExpiringTokenException } from './expiring-token.exception.js';

/** Longest that a timer can wait: Node fires at once beyond it. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;

const logger = new Logger('ExpiringToken');

/** What may be told of a failure: a driver's error also holds the statement with its values. */
export function describe(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown error';
  const code = (error as { code?: unknown }).code;
  return typeof code === 'string' ? `${error.message} (${code})` : error.message;
}

/**
 * Makes a failure of the database, or of the application's user store, an answer of 503 and never one of 401: a client
 * keeps its token and tries again (RFC 9110 §15.6.4). What is an HTTP answer already passes as it is.
 */
export async function available<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof HttpException) throw error;
    logger.error(`Answering 503: ${describe(error)}`);
    throw new ExpiringTokenException('unavailable');
  }
}

/**
 * Does work that is given up after some time.
 *
 * @param timeoutMs - longest wait in milliseconds
 * @param work - is told by the signal when nobody waits for it any more
 */
export async function within<T>(timeoutMs: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const { signal } = controller;
  const expired = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
  const timer = setTimeout(
    () => controller.abort(new Error(`no answer from the database within ${timeoutMs} ms`)),
    Math.min(timeoutMs, LONGEST_TIMER_MS),
  );
  try {
    return await Promise.race([work(signal), expired]);
  } finally {
    clearTimeout(timer);
  }
}

/** {@link available}, {@link within} a time. */
export const availableWithin = <T>(timeoutMs: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> =>
  available(() => within(timeoutMs, work));
