import cluster, { type Worker } from 'node:cluster';
import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import type { Report } from './report.js';
import { findMissingServers } from './required-servers.js';
import { StatusBoard } from './status-board.js';

const PROCESS_COUNT = 4;
/** How often the reports of all processes are sent to each process. */
const SEND_EVERY_MS = 250;
/** Pause after a process that could not start, before the next attempt. */
const RETRY_MS = 1000;
/** Time limit for a process to answer its last requests. */
const SHUTDOWN_TIMEOUT_MS = 5000;

const missing = await findMissingServers(process.env);
if (missing.length > 0) {
  process.stderr.write(`npm run sample:cluster cannot start:\n${missing.map((line) => `- ${line}\n`).join('')}`);
  process.exit(1);
}

const board = new StatusBoard();
const workers = new Map<number, Worker>();
let isEnding = false;

/** Starts a process, and starts another one if it ends before the application does. */
function start(number: number): Worker {
  const worker = cluster.fork();
  workers.set(number, worker);
  board.open(number, worker.process.pid!);
  worker.on('message', (report: Report) => board.receive(number, report));
  let hasStarted = false;
  worker.once('listening', () => (hasStarted = true));
  worker.once('exit', async (code: number | null, signal: string | null) => {
    if (isEnding) return;
    // The cause that stops the first process from starting stops all of them. Later ones are restarted after a pause.
    if (!hasStarted && workers.size === 1) process.exit(1);
    if (!hasStarted) await wait(RETRY_MS);
    if (isEnding) return;
    process.stdout.write(`Process ${number} ended with ${signal ?? code}: another one starts\n`);
    start(number);
  });
  return worker;
}

/** Ends all processes after they answered their last requests. */
function end(): void {
  if (isEnding) return;
  isEnding = true;
  for (const worker of workers.values()) {
    worker.process.kill('SIGTERM');
    setTimeout(() => worker.process.kill('SIGKILL'), SHUTDOWN_TIMEOUT_MS).unref();
  }
}

process.on('SIGINT', end).on('SIGTERM', end);
setInterval(() => {
  const statuses = board.read();
  for (const worker of workers.values()) if (worker.isConnected()) worker.send(statuses);
}, SEND_EVERY_MS).unref();

// The first process creates the tables: several processes cannot do so simultaneously.
const [{ port }] = (await once(start(1), 'listening')) as [{ port: number }];
const others = Array.from({ length: PROCESS_COUNT - 1 }, (_, index) => start(index + 2));
await Promise.all(others.map((worker) => once(worker, 'listening')));
process.stdout.write(
  `${PROCESS_COUNT} processes at http://localhost:${port}, their figures at http://localhost:${port}/status\n`,
);
