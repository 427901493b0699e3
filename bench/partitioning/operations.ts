import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { ExpiringTokenModule, ExpiringTokenService, UserService } from 'nestjs-expiring-token';
import { DataSource } from 'typeorm';
import { recordStatements, type SentStatement } from '../scale/statement.js';

/** The statements of each operation. */
export type Recorded = Record<string, SentStatement[]>;

/** Number of tokens that are looked up with one statement. */
export const BATCH = 32;

/** How many expired tokens the measured sweep deletes. */
const PRUNED = 50_000;

const LAST_USE = 'last use';

const isOfLastUse = ({ sql }: SentStatement): boolean =>
  /last_used_at" = u\.value|SKIP LOCKED|^SELECT "id" FROM "auth_token" WHERE "id" = ANY/.test(sql);

/** Deletes a part of the expired tokens, and returns how many. */
async function pruneSome(tokens: ExpiringTokenService, limit: number): Promise<number> {
  const enough = new AbortController();
  return tokens.prune({
    signal: enough.signal,
    onProgress: ({ deleted }) => {
      if (deleted >= limit) enough.abort();
    },
  });
}

/** What an application on the table did. */
export interface Run {
  recorded: Recorded;
  pruned: number;
  /** CPU time of PostgreSQL while tokens were pruned, in microseconds. */
  pruneCpuUs: number;
  /** Statements with which TypeORM's `synchronize` would change the schema. */
  synchronize: string[];
}

/**
 * Runs an application on the table, and records the statements over tokens that the package sends for each operation.
 *
 * @param cpuUs - the CPU time of PostgreSQL so far, in microseconds
 */
export async function runOperations(url: string, cpuUs: () => number): Promise<Run> {
  @Module({
    imports: [
      TypeOrmModule.forRoot({ type: 'postgres', url, autoLoadEntities: true }),
      // The lifespan of the tokens in the table, so that a part of them is expired.
      ExpiringTokenModule.forRoot({
        lifespan: '30d',
        refresh: { idle: '30d' },
        prune: false,
        limit: { perUser: 50, policy: 'evict' },
      }),
    ],
  })
  class ApplicationModule {}

  const app = await NestFactory.create(ApplicationModule, { logger: ['error', 'warn'], abortOnError: false });
  try {
    await app.init();
    const recorded: Recorded = {};
    let current = '';
    recordStatements(app.get(DataSource), (statement) => {
      // Last uses are stored in the background.
      const operation = isOfLastUse(statement) ? LAST_USE : current;
      const known = (recorded[operation] ??= []);
      if (statement.sql.includes('auth_token') && !known.some(({ sql }) => sql === statement.sql))
        known.push(statement);
    });
    const record = <T>(operation: string, work: () => Promise<T>): Promise<T> => {
      current = operation;
      return work();
    };
    const tokens = app.get(ExpiringTokenService);
    const { id } = await app.get(UserService).create('partitioning-user', null);
    const { access, refresh } = await record('login', () => tokens.logIn(id));
    const others: string[] = [];
    while (others.length < BATCH) others.push((await tokens.issue(id)).plainText);
    const { token } = await record('look-up', () => tokens.authenticate(access.plainText));
    await record(`${BATCH} look-ups in one statement`, () =>
      Promise.all(others.map((other) => tokens.authenticate(other))),
    );
    await record('device list', () => tokens.list(id));
    await record('refresh', () => tokens.refresh(refresh!.plainText));
    await record('logout', () => tokens.revoke(id, token.deviceId));
    const cpuBeforeUs = cpuUs();
    const pruned = await record('pruning', () => pruneSome(tokens, PRUNED));
    const pruneCpuUs = cpuUs() - cpuBeforeUs;
    const { upQueries } = await app.get(DataSource).driver.createSchemaBuilder().log();
    // Stores the last uses.
    await app.close();
    return { recorded, pruned, pruneCpuUs, synchronize: upQueries.map(({ query }) => query) };
  } catch (error) {
    await app.close();
    throw error;
  }
}
