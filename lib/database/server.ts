import { createHash } from 'node:crypto';
import type { DataSource } from 'typeorm';
import type { Result, Script, Statement } from './database.js';
import { isConflict, retrying } from './driver-errors.js';
import { onPrimary } from './primary.js';

/** Lends the driver's own connection to the primary, out of the data source's pool. */
export const withConnection = <Connection, T>(
  dataSource: DataSource,
  use: (connection: Connection) => Promise<T>,
): Promise<T> => onPrimary(dataSource, async (runner) => use((await runner.connect()) as Connection));

/** Does one statement by itself. */
export const writeAlone = <Connection>(
  dataSource: DataSource,
  send: (connection: Connection, statement: Statement) => Promise<Result>,
  statement: Statement,
  signal: AbortSignal,
): Promise<number> =>
  retrying(
    () =>
      withConnection(dataSource, async (connection: Connection) => {
        signal.throwIfAborted();
        return (await send(connection, statement)).affected;
      }),
    isConflict,
  );

/** Walks an asynchronous driver through a script, as long as somebody waits for it: what is answered 503 is not done later. */
export async function play<T>(
  script: Script<T>,
  run: (statement: Statement) => Promise<Result>,
  signal: AbortSignal,
): Promise<T> {
  let step = script.next();
  while (!step.done) {
    signal.throwIfAborted();
    step = script.next(await run(step.value));
  }
  signal.throwIfAborted();
  return step.value;
}

/** A lock's name as a number of bits that any server's advisory locks can hold. */
export const hashLock = (lock: string): Buffer => createHash('sha256').update(`nestjs-expiring-token:${lock}`).digest();

/**
 * Runs the tasks of equal keys one after another in this process, so that a crowd of requests for one user waits here
 * with one connection and not on the server with the whole pool.
 */
export class Queue {
  private readonly tails = new Map<string, Promise<unknown>>();

  async run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const turn = (this.tails.get(key) ?? Promise.resolve()).then(task);
    const tail = turn.catch(() => undefined);
    this.tails.set(key, tail);
    try {
      return await turn;
    } finally {
      if (this.tails.get(key) === tail) this.tails.delete(key);
    }
  }
}
