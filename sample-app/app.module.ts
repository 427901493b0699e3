import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { ExpiringTokenModule } from 'nestjs-expiring-token';
import { databaseOptions } from './database.js';
import { DemoUser } from './demo-user.js';
import { NotesModule } from './notes/notes.module.js';
import { PageController } from './page/page.controller.js';
import { RefreshCookieModule } from './refresh-cookie.js';
import { redisOptions } from './redis.js';

@Module({
  imports: [
    TypeOrmModule.forRoot(databaseOptions(process.env.DATABASE_URL)),
    ExpiringTokenModule.forRoot({
      lifespan: process.env.TOKEN_LIFESPAN ?? '1h',
      refresh: {},
      // The page shows when a device was last used.
      lastUsedAccuracy: '30s',
      ...redisOptions(process.env.REDIS_URL),
      isGlobal: true,
    }),
    RefreshCookieModule,
    NotesModule,
  ],
  controllers: [PageController],
  providers: [DemoUser],
})
export class AppModule {}
