import { type INestApplication, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import type { Contestant, Setting } from '../contestants/contestant.js';
import type { Assignment, Notice, Request } from './protocol.js';
import { ROLES } from './roles.js';

/** Runs one application in this process. The process ends when the process that started it ends. */

const sendNotice = (notice: Notice) => process.send!(notice);

const fail = (error: unknown) => sendNotice({ type: 'failed', reason: String(error) });

async function boot(contestant: Contestant, { adapter }: Setting): Promise<INestApplication> {
  @Module(contestant.module)
  class ApplicationModule {}

  const server = adapter === 'express' ? new ExpressAdapter() : new FastifyAdapter();
  const app = await NestFactory.create(ApplicationModule, server, { logger: ['error', 'warn'], abortOnError: false });
  contestant.prepare?.(app);
  await app.listen(0, '127.0.0.1');
  return app;
}

async function run({ role, setting, userCount }: Assignment): Promise<void> {
  const contestant = (await ROLES[role].load())(setting);
  const app = await boot(contestant, setting);
  process.on('message', (_request: Request) => {
    Promise.resolve(contestant.prepareRound?.(app)).then(() => sendNotice({ type: 'round-prepared' }), fail);
  });
  const logins = userCount > 0 ? await contestant.logIn(app, userCount) : { valid: [] };
  sendNotice({ type: 'ready', origin: await app.getUrl(), logins });
}

process.on('disconnect', () => process.exit());
run(JSON.parse(process.argv[2]!) as Assignment).catch(fail);
