import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { ExpiringTokenGuard, ExpiringTokenModule, ExpiringTokenService, UserService } from 'nestjs-expiring-token';
import type { DataSourceOptions } from 'typeorm';
import { bearer, type Credential } from '../contestants/contestant.js';
import { guardedBy } from '../contestants/me.controller.js';

/** Runs an application that prunes when it receives a message. The process ends when the process that started it ends. */

/** The settings of this process. Sent as JSON in its first command-line argument. */
export interface Assignment {
  database: DataSourceOptions;
  logins: number;
}

export type Notice =
  | { type: 'ready'; origin: string; credentials: Credential[] }
  | { type: 'pruned'; deleted: number }
  | { type: 'failed'; reason: string };

const sendNotice = (notice: Notice) => process.send!(notice);

const fail = (error: unknown) => sendNotice({ type: 'failed', reason: String(error) });

async function run({ database, logins }: Assignment): Promise<void> {
  @Module({
    imports: [
      TypeOrmModule.forRoot({ ...database, autoLoadEntities: true }),
      // Default retention. The benchmark starts the pruning, so the timer is off.
      ExpiringTokenModule.forRoot({ prune: false }),
    ],
    controllers: [guardedBy(ExpiringTokenGuard)],
  })
  class ApplicationModule {}

  const app = await NestFactory.create(ApplicationModule, { logger: ['error', 'warn'], abortOnError: false });
  await app.listen(0, '127.0.0.1');
  const tokens = app.get(ExpiringTokenService);
  const credentials: Credential[] = [];
  while (credentials.length < logins) {
    const { id } = await app.get(UserService).create(`pruning-user-${credentials.length}`, null);
    credentials.push(bearer((await tokens.issue(id)).plainText));
  }
  process.on('message', () => {
    tokens.prune().then((deleted) => sendNotice({ type: 'pruned', deleted }), fail);
  });
  sendNotice({ type: 'ready', origin: await app.getUrl(), credentials });
}

process.on('disconnect', () => process.exit());
run(JSON.parse(process.argv[2]!) as Assignment).catch(fail);
