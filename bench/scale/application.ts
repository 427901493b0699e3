import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { ExpiringTokenGuard, ExpiringTokenModule, ExpiringTokenService, UserService } from 'nestjs-expiring-token';
import type { DataSourceOptions } from 'typeorm';
import { bearer, type Credential } from '../contestants/contestant.js';
import { guardedBy } from '../contestants/me.controller.js';

/** The process of an application that prunes when it is told to. It ends with the process that started it. */

/** What it is told, as JSON in its first parameter. */
export interface Assignment {
  database: DataSourceOptions;
  logins: number;
}

export type Notice =
  | { type: 'ready'; origin: string; credentials: Credential[] }
  | { type: 'pruned'; deleted: number }
  | { type: 'failed'; reason: string };

const tell = (notice: Notice) => process.send!(notice);

const fail = (error: unknown) => tell({ type: 'failed', reason: String(error) });

async function run({ database, logins }: Assignment): Promise<void> {
  @Module({
    imports: [
      TypeOrmModule.forRoot({ ...database, autoLoadEntities: true }),
      // With the usual retention, at the time that is chosen here.
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
    const { id } = await app.get(UserService).create(`somebody-${credentials.length}`, null);
    credentials.push(bearer((await tokens.issue(id)).plainText));
  }
  process.on('message', () => {
    tokens.prune().then((deleted) => tell({ type: 'pruned', deleted }), fail);
  });
  tell({ type: 'ready', origin: await app.getUrl(), credentials });
}

process.on('disconnect', () => process.exit());
run(JSON.parse(process.argv[2]!) as Assignment).catch(fail);
