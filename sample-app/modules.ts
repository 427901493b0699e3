import type { ModuleMetadata } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { ExpiringTokenModule } from 'nestjs-expiring-token';
import { databaseOptions } from './database.js';
import { NotesModule } from './notes/notes.module.js';
import type { SharedOptions } from './redis.js';
import { RefreshCookieModule } from './refresh-cookie.js';

/** The modules of the application. `shared` holds the options for several processes that share a Redis. */
export const modules = (shared: SharedOptions): ModuleMetadata['imports'] => [
  TypeOrmModule.forRoot(databaseOptions(process.env.DATABASE_URL)),
  ExpiringTokenModule.forRoot({
    lifespan: process.env.TOKEN_LIFESPAN ?? '1h',
    refresh: {},
    // The page shows when a device was last used.
    lastUsedAccuracy: '30s',
    ...shared,
    isGlobal: true,
  }),
  RefreshCookieModule,
  NotesModule,
];
