import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { type CanActivate, type INestApplication, Module } from '@nestjs/common';
import { ModuleRef, NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import {
  ExpiringTokenGuard,
  ExpiringTokenModule,
  type ExpiringTokenOptions,
  ExpiringTokenService,
  Token,
  UserService,
} from 'nestjs-expiring-token';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { contextOf } from '../cpu/measure.js';
import type { Cost } from '../load-model/costs.js';
import { log } from '../report/log.js';
import { recordStatements } from '../scale/statement.js';

/** The names of the costs that are measured by running an operation again and again. */
export type OperationName =
  | 'lookUp'
  | 'lookUpOf32'
  | 'cacheHit'
  | 'lastUse'
  | 'lastUseOfMany'
  | 'login'
  | 'hash'
  | 'refresh'
  | 'logout'
  | 'prune';

const USERS = 320;
const CONCURRENCY = 32;

const PASSWORD = 'correct horse battery staple';

/** Settings of the pool, so that no connection is closed: the CPU time of its process would be lost. */
const keptConnections = ({ type }: DataSourceOptions) =>
  type === 'postgres' ? { idleTimeoutMillis: 0 } : { idleTimeout: 3_600_000 };

/** An application in this process. */
interface Running {
  app: INestApplication;
  tokens: ExpiringTokenService;
  users: UserService;
  /** Sends a guarded request with a token. */
  guard: (plainText: string) => Promise<void>;
  /** How many statements the package has sent. */
  statements: () => number;
}

async function start(database: DataSourceOptions, options: ExpiringTokenOptions): Promise<Running> {
  @Module({
    imports: [
      TypeOrmModule.forRoot({ ...database, extra: keptConnections(database), autoLoadEntities: true }),
      ExpiringTokenModule.forRoot({ prune: false, lastUsedAccuracy: '3650d', timeout: '1m', ...options }),
    ],
  })
  class ApplicationModule {}

  class Controller {}
  const app = await NestFactory.create(ApplicationModule, { logger: ['error', 'warn'], abortOnError: false });
  await app.init();
  let sent = 0;
  recordStatements(app.get(DataSource), () => sent++);
  const guard: CanActivate = await app.get(ModuleRef).create(ExpiringTokenGuard);
  const handler = () => undefined;
  return {
    app,
    tokens: app.get(ExpiringTokenService),
    users: app.get(UserService),
    statements: () => sent,
    async guard(plainText) {
      const authorization = `Bearer ${plainText}`;
      const headers = { authorization };
      const request = { method: 'GET', url: '/me', headers, rawHeaders: ['Authorization', authorization] };
      if ((await guard.canActivate(contextOf(request, handler, Controller))) !== true) throw new Error('rejected');
    },
  };
}

/** Calls a function for each item, some at a time, and returns how many items there were. */
async function forEach<Item>(
  items: readonly Item[],
  concurrency: number,
  call: (item: Item) => Promise<unknown>,
): Promise<number> {
  for (let at = 0; at < items.length; at += concurrency) {
    await Promise.all(items.slice(at, at + concurrency).map(call));
  }
  return items.length;
}

const repeated = <Item>(items: readonly Item[], times: number): Item[] =>
  Array.from({ length: times }, () => items).flat();

/** What is done in each round. */
interface Round {
  /** Not measured. */
  prepare?: () => Promise<void>;
  /** @returns how many operations it did */
  work: () => Promise<number>;
}

const FIELDS = ['nodeUs', 'databaseUs', 'statements'] as const;

/** Measures the operations of the package, each in its best round: other load on the machine can only make a round slower. */
export async function measureOperations(
  database: DataSourceOptions,
  { userAgent, rounds }: { userAgent: string; rounds: number },
  databaseCpuUs: () => number,
): Promise<Record<OperationName, Cost>> {
  const costs = {} as Record<OperationName, Cost>;

  async function measure(name: OperationName, running: Running, { prepare, work }: Round): Promise<void> {
    const best: Cost = { nodeUs: Infinity, databaseUs: Infinity, statements: Infinity };
    // The first round warms up and does not count.
    for (let at = 0; at <= rounds; at++) {
      await prepare?.();
      const [sent, databaseUs, cpu] = [running.statements(), databaseCpuUs(), process.cpuUsage()];
      const count = await work();
      const { user, system } = process.cpuUsage(cpu);
      const measured: Cost = {
        nodeUs: (user + system) / count,
        databaseUs: (databaseCpuUs() - databaseUs) / count,
        statements: (running.statements() - sent) / count,
      };
      if (at > 0) for (const field of FIELDS) best[field] = Math.min(best[field], measured[field]);
    }
    costs[name] = best;
    log(`${name}: ${JSON.stringify(best)}`);
  }

  async function withApplication(options: ExpiringTokenOptions, work: (running: Running) => Promise<void>) {
    const running = await start(database, options);
    try {
      await work(running);
    } finally {
      await running.app.close();
    }
  }

  const device = { userAgent };
  const userIds: string[] = [];
  const plainTexts: string[] = [];

  await withApplication({}, async (running) => {
    const { tokens, users, guard } = running;
    while (userIds.length < USERS) userIds.push((await users.create(`cost-${userIds.length}`, null)).id);
    for (const id of userIds) plainTexts.push((await tokens.issue(id, device)).plainText);
    await measure('lookUp', running, { work: () => forEach(plainTexts, 1, guard) });
    await measure('lookUpOf32', running, { work: () => forEach(repeated(plainTexts, 3), CONCURRENCY, guard) });
    await measure('login', running, { work: () => forEach(userIds, CONCURRENCY, (id) => tokens.logIn(id, device)) });
    let issued: Token[] = [];
    await measure('logout', running, {
      async prepare() {
        issued = [];
        await forEach(userIds, CONCURRENCY, async (id) => issued.push((await tokens.issue(id, device)).token));
      },
      work: () => forEach(issued, CONCURRENCY, ({ userId, deviceId }) => tokens.revoke(userId, deviceId)),
    });
    let created = 0;
    await measure('hash', running, {
      work: () => forEach(userIds.slice(0, 3), 1, () => users.create(`hash-${created++}`, PASSWORD)),
    });
  });

  await withApplication({ cache: { ttl: '1h' } }, (running) =>
    measure('cacheHit', running, { work: () => forEach(repeated(plainTexts, 20), CONCURRENCY, running.guard) }),
  );

  // Each use is stored. Uses are collected for a tenth of a second.
  await withApplication({ lastUsedAccuracy: 1 }, async (running) => {
    const use = (some: readonly string[]) => forEach(some, CONCURRENCY, running.guard).finally(() => wait(150));
    await measure('lastUse', running, {
      work: () => forEach(plainTexts.slice(0, 6), 1, (plainText) => use([plainText])),
    });
    await measure('lastUseOfMany', running, {
      work: () => use(plainTexts),
    });
  });
  // The look-ups are not part of it.
  for (const field of FIELDS) {
    costs.lastUse[field] -= costs.lookUp[field];
    costs.lastUseOfMany[field] -= costs.lookUpOf32[field];
  }

  await withApplication({ refresh: true, lastUsedAccuracy: '6d' }, async (running) => {
    const { tokens } = running;
    const refreshTokens = new Map<string, string>();
    for (const id of userIds) refreshTokens.set(id, (await tokens.logIn(id, device)).refresh!.plainText);
    await measure('refresh', running, {
      work: () =>
        forEach(userIds, CONCURRENCY, async (id) => {
          const { refresh } = await tokens.refresh(refreshTokens.get(id)!, device);
          refreshTokens.set(id, refresh.plainText);
        }),
    });
  });

  await withApplication({ lifespan: '30d' }, (running) =>
    measure('prune', running, {
      prepare: () => insertExpired(running.app, userIds, userAgent),
      work: () => running.tokens.prune(),
    }),
  );
  return costs;
}

const EXPIRED = 1000;

/** Inserts tokens that are pruned. */
async function insertExpired(app: INestApplication, userIds: readonly string[], userAgent: string): Promise<void> {
  const repository = app.get(DataSource).getRepository(Token);
  const createdMs = Date.now() - 60 * 86_400_000;
  const rows = Array.from({ length: EXPIRED }, (_, index) => ({
    id: randomUUID(),
    deviceId: randomUUID(),
    userId: userIds[index % userIds.length]!,
    purpose: 'access',
    digest: randomBytes(32),
    userAgent,
    created: new Date(createdMs + index),
  }));
  await forEach(
    Array.from({ length: EXPIRED / 500 }, (_, chunk) => rows.slice(chunk * 500, (chunk + 1) * 500)),
    1,
    (chunk) => repository.insert(chunk as object),
  );
}
