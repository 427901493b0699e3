import { createRequire } from 'node:module';

type Method = (this: unknown, ...parameters: unknown[]) => unknown;

let roundTrips = 0;

/** Counts the calls of a method, each of which sends something and waits for the response. */
function count(prototype: Record<string, Method>, name: string): void {
  const method = prototype[name]!;
  prototype[name] = function (...parameters) {
    roundTrips++;
    return method.apply(this, parameters);
  };
}

const require = createRequire(import.meta.url);
count(require('pg').Client.prototype, 'query');
count(require('mysql2').PoolConnection.prototype, 'writePacket');

/** Returns how often the drivers sent something during some work. */
export async function countRoundTrips(work: () => Promise<unknown>): Promise<number> {
  const before = roundTrips;
  await work();
  return roundTrips - before;
}
