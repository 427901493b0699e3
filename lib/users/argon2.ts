import { createRequire } from 'node:module';
import { constants, getPriority } from 'node:os';
import { Worker } from 'node:worker_threads';
import * as argon2 from '@node-rs/argon2';
import { describeError } from '../errors/describe-error.js';
import { PackageLogger } from '../errors/package.logger.js';

/*
 * On Linux, Argon2 runs in threads of low priority: on one processor, a thread of the same priority as the event loop would take
 * half of the time from all requests. The threads of libuv, in which `@node-rs/argon2` computes otherwise, have no priority of
 * their own, because they also read files.
 */

/** A call of a function of `@node-rs/argon2` in a thread. */
type Call =
  | readonly [name: 'hashSync', password: string, options: argon2.Options]
  | readonly [name: 'verifySync', hash: string, password: string];

/**
 * The program of a thread. It is a string and not a file, so that it also runs in bundles and from TypeScript. On Linux, process 0 of
 * `setPriority` is this thread alone. No error leaves the thread, because its message could contain a hash.
 */
const PROGRAM = `
  const { parentPort, workerData } = require('node:worker_threads');
  const argon2 = require(workerData.argon2);
  try {
    require('node:os').setPriority(0, workerData.priority);
  } catch {}
  parentPort.on('message', ([name, ...parameters]) => {
    let result = null;
    try {
      result = argon2[name](...parameters);
    } catch {}
    parentPort.postMessage(result);
  });
`;

/**
 * How much larger the nice value of a thread is. It gets a tenth of a processor while the event loop needs all of it, so that
 * logins do not stop.
 */
const NICER = 10;

const logger = new PackageLogger();

/** The threads that wait for a call. */
const idle = new Set<Worker>();

/** Whether a thread of this process has returned a result, so that others can, too. */
let isProven = false;
let canStart = process.platform === 'linux';

/** Computes a hash with a random salt. */
export const hash = async (password: string, options: argon2.Options): Promise<string> =>
  (await callInThread<string>(['hashSync', password, options])) ?? argon2.hash(password, options);

/** Returns whether a password matches a hash, or null if the hash is not valid: then nothing was computed. */
export const verify = async (stored: string, password: string): Promise<boolean | null> =>
  (await callInThread<boolean>(['verifySync', stored, password])) ?? argon2.verify(stored, password).catch(() => null);

/** Ends the threads that wait for a call. The next call starts a new one. */
export async function endIdleThreads(): Promise<void> {
  const threads = [...idle];
  idle.clear();
  await Promise.all(threads.map((thread) => thread.terminate()));
}

/** @returns null if no thread can start, if it ends before it returns a result, or if the function throws */
async function callInThread<T>(call: Call): Promise<T | null> {
  const [waiting = startThread()] = idle;
  if (!waiting) return null;
  const thread = waiting;
  idle.delete(thread);
  // The process must not end while a hash is computed, but it may end while the thread waits.
  thread.ref();
  return new Promise((resolve) => {
    const end = () => resolve(null);
    thread.once('exit', end);
    thread.once('message', (result: T | null) => {
      isProven = true;
      thread.off('exit', end).unref();
      idle.add(thread);
      resolve(result);
    });
    thread.postMessage(call);
  });
}

function startThread(): Worker | null {
  if (!canStart) return null;
  try {
    const workerData = {
      argon2: createRequire(import.meta.url).resolve('@node-rs/argon2'),
      priority: Math.min(getPriority() + NICER, constants.priority.PRIORITY_LOW),
    };
    // The options of Node and the variables, for example `--import`, would run code of the application in the thread.
    const thread = new Worker(PROGRAM, { eval: true, workerData, execArgv: [], env: {} });
    return thread.on('error', giveUp).on('exit', () => idle.delete(thread));
  } catch (error) {
    giveUp(error);
    return null;
  }
}

/** If the first thread fails, others would too: for example in a bundle, or if the permissions of Node forbid threads. */
function giveUp(error: unknown): void {
  if (isProven || !canStart) return;
  canStart = false;
  logger.debug(`Password hashes have no priority below requests, because no thread can start: ${describeError(error)}`);
}
