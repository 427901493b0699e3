import { setTimeout as wait } from 'node:timers/promises';
import { ApplicationProcess } from '../application/application-process.js';
import type { Credential } from '../contestants/contestant.js';
import { Client } from '../load/client.js';
import { paced } from '../load/paced.js';
import type { Postgres } from '../machine/postgres.js';
import type { PrivateRedis } from '../machine/redis.js';
import { log } from '../report/log.js';
import { median, quantile } from '../report/statistics.js';

const PROCESS_COUNT = 4;
/** Requests a second to each process, with tokens that stay. */
const LOAD_PER_SECOND = 100;
const LOADING_USERS = 100;
/** Between an answer and the next request with the token that was revoked. */
const POLL_PAUSE_MS = 1;
/** Longer than the cache could hold a token that nobody dropped. */
const PATIENCE_MS = 20_000;

export interface Revocations {
  processes: number;
  loadPerSecond: number;
  /** From one request with a revoked token to the next, of the same process: how exact a delay is. */
  pollMs: { median: number; p99: number };
  /** How long each revocation took to be refused by all other processes, from its answer to theirs. */
  delaysMs: number[];
}

interface Poll {
  sentMs: number;
  answeredMs: number;
}

/** Asks with a token until it is refused. The last poll is the one that was. */
async function pollUntilRefused(client: Client, credential: Credential): Promise<Poll[]> {
  const polls: Poll[] = [];
  const deadlineMs = performance.now() + PATIENCE_MS;
  for (;;) {
    const sentMs = performance.now();
    const { status } = await client.me(credential);
    polls.push({ sentMs, answeredMs: performance.now() });
    if (status === 401) return polls;
    if (status !== 200) throw new Error(`a revoked token was answered ${status}`);
    if (sentMs > deadlineMs) throw new Error('a revoked token was not refused');
    await wait(POLL_PAUSE_MS);
  }
}

/** Between them the token became a revoked one: the two polls on either side, or the only one. */
const gapMs = (polls: readonly Poll[]): number => polls.at(-1)!.answeredMs - (polls.at(-2) ?? polls.at(-1)!).sentMs;

/** Revokes a token through one process, which all have cached, while the others are asked with it. */
async function revoke(first: Client, others: readonly Client[], credential: Credential) {
  for (const client of [first, ...others]) {
    const { status } = await client.me(credential);
    if (status !== 200) throw new Error(`a live token was answered ${status}`);
  }
  const polling = Promise.all(others.map((client) => pollUntilRefused(client, credential)));
  const headers = { [credential.name]: credential.value };
  const { status } = await first.send({ method: 'POST', path: '/auth/logout', headers });
  const answeredMs = performance.now();
  if (status !== 204) throw new Error(`a logout was answered ${status}`);
  const polls = await polling;
  const refusedMs = Math.max(...polls.map((of) => of.at(-1)!.answeredMs));
  return { delayMs: Math.max(0, refusedMs - answeredMs), gapsMs: polls.map(gapMs) };
}

const oneOf = <T>(values: readonly T[]): T => values[Math.floor(Math.random() * values.length)]!;

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
    const { right } = applications[0]!.logins;
    while (applications.length < PROCESS_COUNT) applications.push(await start(0));
    clients.push(...applications.map(({ origin }) => new Client(origin)));
    const staying = right.slice(count);
    const over = new AbortController();
    const loads = clients.map((client) =>
      paced(LOAD_PER_SECOND, over.signal, () => client.me(oneOf(staying).credential)),
    );
    const [first, ...others] = clients as [Client, ...Client[]];
    const delaysMs: number[] = [];
    const gapsMs: number[] = [];
    const revokeAll = async () => {
      for (const { credential } of right.slice(0, count)) {
        const measured = await revoke(first, others, credential);
        delaysMs.push(rounded(measured.delayMs));
        gapsMs.push(...measured.gapsMs);
        if (delaysMs.length % 100 === 0) log(`${delaysMs.length} of ${count} revocations`);
      }
    };
    await Promise.all([...loads, revokeAll().finally(() => over.abort())]);
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
