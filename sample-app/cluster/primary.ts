import cluster, { type Worker } from 'node:cluster';
import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import type { Report } from './report.js';
import { StatusBoard } from './status-board.js';

const PROCESS_COUNT = 4;
/** How often all processes are told what each of them reported. */
const TELL_EVERY_MS = 250;
/** Between the end of a process that could not start and the next try. */
const RETRY_MS = 1000;
/** Longest that a process may take to answer its last requests. */
const FAREWELL_MS = 5000;

for (const [name, example] of [
  ['DATABASE_URL', 'postgres://postgres@localhost/postgres'],
  ['REDIS_URL', 'redis://localhost'],
]) {
  if (!process.env[name!]) {
    process.stderr.write(`${name} must name the server that the processes share, e.g. ${name}=${example}\n`);
    process.exit(1);
  }
}

const board = new StatusBoard();
const workers = new Map<number, Worker>();
let isEnding = false;

/** Starts a process in a place, and another one when that ends by itself. */
function start(number: number): Worker {
  const worker = cluster.fork();
  workers.set(number, worker);
  board.open(number, worker.process.pid!);
  worker.on('message', (report: Report) => board.receive(number, report));
  let hasStarted = false;
  worker.once('listening', () => (hasStarted = true));
  worker.once('exit', async (code: number | null, signal: string | null) => {
    if (isEnding) return;
    // Without a pause, one that cannot start would be started all the time. What keeps the first one from it keeps all.
    if (!hasStarted && workers.size === 1) process.exit(1);
    if (!hasStarted) await wait(RETRY_MS);
    if (isEnding) return;
    process.stdout.write(`Process ${number} ended with ${signal ?? code}: another one starts\n`);
    start(number);
  });
  return worker;
}

/** Lets all processes answer their last requests. */
function end(): void {
  if (isEnding) return;
  isEnding = true;
  for (const worker of workers.values()) {
    worker.process.kill('SIGTERM');
    setTimeout(() => worker.process.kill('SIGKILL'), FAREWELL_MS).unref();
  }
}

process.on('SIGINT', end).on('SIGTERM', end);
setInterval(() => {
  const statuses = board.read();
  for (const worker of workers.values()) if (worker.isConnected()) worker.send(statuses);
}, TELL_EVERY_MS).unref();

// The first one makes the tables, which not all can do at once.
const [{ port }] = (await once(start(1), 'listening')) as [{ port: number }];
const others = Array.from({ length: PROCESS_COUNT - 1 }, (_, index) => start(index + 2));
await Promise.all(others.map((worker) => once(worker, 'listening')));
process.stdout.write(
  `${PROCESS_COUNT} processes at http://localhost:${port}, their figures at http://localhost:${port}/status\n`,
);
