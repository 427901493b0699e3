import { setTimeout as wait } from 'node:timers/promises';
import { ApplicationProcess } from '../application/application-process.js';
import type { Credential } from '../contestants/contestant.js';
import { Client } from '../load/client.js';
import { sendAtConstantRate } from '../load/constant-rate.js';
import type { Postgres } from '../machine/postgres.js';
import type { PrivateRedis } from '../machine/redis.js';
import { log } from '../report/log.js';
import { median, quantile } from '../report/statistics.js';

const PROCESS_COUNT = 4;
/** Requests per second to each process, with tokens that are not revoked. */
const LOAD_PER_SECOND = 100;
const LOADING_USERS = 100;
/** Pause between a response and the next request with the revoked token. */
const POLL_PAUSE_MS = 1;
/** Longer than the cache keeps a token whose revocation was missed. */
const TIMEOUT_MS = 20_000;

export interface Revocations {
  processes: number;
  loadPerSecond: number;
  /** Interval between two polls of one process: the precision of the delays. */
  pollMs: { median: number; p99: number };
  /** Delay of each revocation, from its response until all other processes reject the token. */
  delaysMs: number[];
}

interface Poll {
  sentMs: number;
  respondedMs: number;
}

/** Sends requests with a token until one is rejected. Returns all polls; the last one is the rejected one. */
async function pollUntilRejected(client: Client, credential: Credential): Promise<Poll[]> {
  const polls: Poll[] = [];
  const deadlineMs = performance.now() + TIMEOUT_MS;
  for (;;) {
    const sentMs = performance.now();
    const { status } = await client.me(credential);
    polls.push({ sentMs, respondedMs: performance.now() });
    if (status === 401) return polls;
    if (status !== 200) throw new Error(`a request with a revoked token got status ${status}`);
    if (sentMs > deadlineMs) throw new Error(`a revoked token was still accepted after ${TIMEOUT_MS / 1000} s`);
    await wait(POLL_PAUSE_MS);
  }
}

/** The interval in which the process noticed the revocation: from the last accepted poll to the end of the rejected one. */
const gapMs = (polls: readonly Poll[]): number => polls.at(-1)!.respondedMs - (polls.at(-2) ?? polls.at(-1)!).sentMs;

/** Revokes a token, which all processes have cached, through one process while it polls the others. */
async function revoke(first: Client, others: readonly Client[], credential: Credential) {
  for (const client of [first, ...others]) {
    const { status } = await client.me(credential);
    if (status !== 200) throw new Error(`a request with a valid token got status ${status}`);
  }
  const polling = Promise.all(others.map((client) => pollUntilRejected(client, credential)));
  const headers = { [credential.name]: credential.value };
  const { status } = await first.send({ method: 'POST', path: '/auth/logout', headers });
  const respondedMs = performance.now();
  if (status !== 204) throw new Error(`a logout got status ${status}`);
  const polls = await polling;
  const rejectedMs = Math.max(...polls.map((ofProcess) => ofProcess.at(-1)!.respondedMs));
  return { delayMs: Math.max(0, rejectedMs - respondedMs), gapsMs: polls.map(gapMs) };
}

const pickRandom = <T>(values: readonly T[]): T => values[Math.floor(Math.random() * values.length)]!;

const rounded = (ms: number): number => Number(ms.toFixed(1));

export async function measureRevocations(
  count: number,
  { postgres, redis }: { postgres: Postgres; redis: PrivateRedis },
): Promise<Revocations> {
  const postgresUrl = await postgres.createDatabase('revocation');
  const setting = { adapter: 'express', postgresUrl, sqliteFile: '', redisUrl: redis.url } as const;
  const start = (userCount: number) => ApplicationProcess.start({ role: 'revocation', setting, userCount });
  const applications = [await start(count + LOADING_USERS)];
  const clients: Client[] = [];
  try {
    const { valid } = applications[0]!.logins;
    while (applications.length < PROCESS_COUNT) applications.push(await start(0));
    clients.push(...applications.map(({ origin }) => new Client(origin)));
    const unrevoked = valid.slice(count);
    const finished = new AbortController();
    const loads = clients.map((client) =>
      sendAtConstantRate(LOAD_PER_SECOND, finished.signal, () => client.me(pickRandom(unrevoked).credential)),
    );
    const [first, ...others] = clients as [Client, ...Client[]];
    const delaysMs: number[] = [];
    const gapsMs: number[] = [];
    const revokeAll = async () => {
      for (const { credential } of valid.slice(0, count)) {
        const measured = await revoke(first, others, credential);
        delaysMs.push(rounded(measured.delayMs));
        gapsMs.push(...measured.gapsMs);
        if (delaysMs.length % 100 === 0) log(`${delaysMs.length} of ${count} revocations`);
      }
    };
    await Promise.all([...loads, revokeAll().finally(() => finished.abort())]);
    return {
      processes: PROCESS_COUNT,
      loadPerSecond: LOAD_PER_SECOND,
      pollMs: { median: rounded(median(gapsMs)), p99: rounded(quantile(gapsMs, 0.99)) },
      delaysMs,
    };
  } finally {
    for (const client of clients) client.close();
    await Promise.all(applications.map((application) => application.stop()));
  }
}
