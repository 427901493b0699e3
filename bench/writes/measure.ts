import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { ExpiringTokenModule, ExpiringTokenService, UserService } from 'nestjs-expiring-token';
import { countRoundTrips } from './round-trips.js';

/** Number of simultaneous calls. */
const CONCURRENCY = 40;
/** Batches of calls in one round. */
const BATCHES = 2;

/** A database server to measure on. */
export interface Server {
  readonly name: 'PostgreSQL' | 'MariaDB';
  readonly type: 'postgres' | 'mariadb';
  readonly url: string;
}

/** What one operation costs. */
export interface WriteFigure {
  server: string;
  operation: string;
  /** How many users the simultaneous calls are of. */
  users: number;
  /** Calls per second in the best round: other processes can only make a round slower. */
  perSecond: number;
  /** How often the application waits for the server in one call. */
  roundTrips: number;
}

/** Prepares one batch of calls, which is not measured, and returns them. */
type Prepare = () => Promise<(() => Promise<unknown>)[]>;

async function start({ type, url }: Server) {
  @Module({
    imports: [
      TypeOrmModule.forRoot({ type, url, autoLoadEntities: true, synchronize: true, poolSize: 10 }),
      ExpiringTokenModule.forRoot({
        refresh: true,
        limit: { perUser: 50, policy: 'evict' },
        secret: 's'.repeat(32),
        timeout: '60s',
        loginThrottle: false,
        prune: false,
      }),
    ],
  })
  class ApplicationModule {}
  return NestFactory.createApplicationContext(ApplicationModule, { logger: false });
}

/** The operations, each of one call for each of the users, who may be the same. */
function operationsOf(tokens: ExpiringTokenService, users: readonly string[]): Record<string, Prepare> {
  let pairs: Promise<string[]> | undefined;
  const logInAll = () => Promise.all(users.map((user) => tokens.logIn(user)));
  return {
    'log in': async () => users.map((user) => () => tokens.logIn(user)),
    obtain: async () => users.map((user) => () => tokens.obtain(user)),
    async refresh() {
      pairs ??= logInAll().then((logins) => logins.map(({ refresh }) => refresh!.plainText));
      const current = await pairs;
      return current.map((token, index) => async () => {
        current[index] = (await tokens.refresh(token)).refresh.plainText;
      });
    },
    async revoke() {
      const logins = await logInAll();
      return logins.map(
        ({ access }, index) =>
          () =>
            tokens.revoke(users[index]!, access.token.deviceId),
      );
    },
  };
}

/** Measures how many changes of tokens one process makes in a second, and how often it waits for the server. */
export async function measureWrites(server: Server, rounds: number): Promise<WriteFigure[]> {
  const app = await start(server);
  try {
    const tokens = app.get(ExpiringTokenService);
    const create = (index: number) => app.get(UserService).create(`user ${index}`, null);
    const ids = (await Promise.all(Array.from({ length: CONCURRENCY }, (_, index) => create(index)))).map(
      ({ id }) => id,
    );
    const figures: WriteFigure[] = [];
    for (const users of [ids.map(() => ids[0]!), ids]) {
      for (const [operation, prepare] of Object.entries(operationsOf(tokens, users))) {
        let best = 0;
        let roundTrips = 0;
        // The first round warms up and does not count.
        for (let round = 0; round <= rounds; round++) {
          let tookMs = 0;
          for (let batch = 0; batch < BATCHES; batch++) {
            const calls = await prepare();
            const startedMs = performance.now();
            const sent = await countRoundTrips(() => Promise.all(calls.map((call) => call())));
            tookMs += performance.now() - startedMs;
            roundTrips = sent / CONCURRENCY;
          }
          if (round > 0) best = Math.max(best, (BATCHES * CONCURRENCY * 1000) / tookMs);
        }
        figures.push({
          server: server.name,
          operation,
          users: new Set(users).size,
          perSecond: Math.round(best),
          roundTrips: Number(roundTrips.toFixed(1)),
        });
      }
    }
    return figures;
  } finally {
    await app.close();
  }
}

/** The figures in Markdown. */
export function writesTable(figures: readonly WriteFigure[]): string {
  const rows = figures.map(
    ({ server, operation, users, perSecond, roundTrips }) =>
      `| ${server} | ${operation} | ${users} | ${perSecond.toLocaleString('en')} | ${roundTrips} |`,
  );
  return [
    `| server | operation, ${CONCURRENCY} simultaneous | of users | per second, best round | round trips |`,
    '| --- | --- | --: | --: | --: |',
    ...rows,
  ].join('\n');
}
