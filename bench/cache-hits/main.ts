/**
 * Measures how often the option `cache` saves a look-up while other users log in, in other processes whose messages arrive
 * over Redis. Run it with `npm run bench:cache-hits`.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Redis } from 'ioredis';
import { ExpiringTokenService } from 'nestjs-expiring-token';
import { oursWith, postgres as onPostgres } from '../contestants/ours.js';
import { Postgres } from '../machine/postgres.js';
import { PrivateRedis } from '../machine/redis.js';

const TOKENS = 2000;
const REQUESTS_PER_SECOND = 2000;
const LOGINS_PER_SECOND = [0, 50, 200, 500, 1000];
/** More than two `ttl`, after which the moments in which tokens leave the cache are spread evenly. */
const WARM_UP_SECONDS = 25;
const SECONDS = 10;

/** Calls a function at a constant rate. */
async function repeat(perSecond: number, seconds: number, call: () => void): Promise<void> {
  const startedAt = performance.now();
  let called = 0;
  for (let elapsed = 0; elapsed < seconds; elapsed = (performance.now() - startedAt) / 1000) {
    for (const due = elapsed * perSecond; called < due; called++) call();
    await wait(1);
  }
}

async function measure(postgres: Postgres, redis: PrivateRedis): Promise<void> {
  const options = { cache: { ttl: '10s', redis: redis.url } } as const;
  const setting = { adapter: 'express', postgresUrl: await postgres.createDatabase('hits'), sqliteFile: '' } as const;
  const contestant = oursWith(onPostgres(setting), options);
  @Module(contestant.module)
  class ApplicationModule {}
  const app = await NestFactory.create(ApplicationModule, { logger: false });
  await app.init();
  const publisher = new Redis(redis.url);
  const [channel] = (await publisher.pubsub('CHANNELS', '*:revoked')) as string[];
  const tokens = app.get(ExpiringTokenService);
  const { valid } = await contestant.logIn(app, TOKENS);
  const texts = valid.map(({ credential }) => credential.value.slice('Bearer '.length));
  const request = () => void tokens.authenticate(texts[Math.floor(Math.random() * TOKENS)]!);
  await repeat(REQUESTS_PER_SECOND, WARM_UP_SECONDS, request);
  for (const logins of LOGINS_PER_SECOND) {
    const before = tokens.cacheStatus();
    let others = 0;
    await Promise.all([
      repeat(REQUESTS_PER_SECOND, SECONDS, request),
      repeat(logins, SECONDS, () => void publisher.publish(channel!, `user ${others++}`)),
    ]);
    const after = tokens.cacheStatus();
    const [hits, lookUps] = [after.hits - before.hits, after.lookUps - before.lookUps];
    process.stdout.write(
      `${logins} logins/s (${after.revocations - before.revocations} received): hit ratio ${(hits / (hits + lookUps)).toFixed(3)}\n`,
    );
  }
  publisher.disconnect();
  await app.close();
}

const directory = mkdtempSync(join(tmpdir(), 'ext_bench_'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
const postgres = await Postgres.start(directory);
const redis = await PrivateRedis.start(directory);
await measure(postgres, redis);
await redis.stop();
await postgres.stop();
