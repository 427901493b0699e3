import { createRequire } from 'node:module';
import type { TypeOrmModuleOptions } from '@nestjs/typeorm';

/** Returns the options for the database of a URL, or for a SQLite file in the working directory if there is no URL. */
export function databaseOptions(url: string | undefined): TypeOrmModuleOptions {
  return {
    ...connectionOptions(url),
    autoLoadEntities: true,
    // Creates the tables. An application in production runs migrations instead, because synchronize can delete data.
    synchronize: true,
  };
}

function connectionOptions(url: string | undefined): TypeOrmModuleOptions {
  const type = url?.split(':', 1)[0];
  switch (type) {
    case undefined: {
      // libsql has the same interface as better-sqlite3, and its installation needs no compiler.
      const driver: unknown = createRequire(import.meta.url)('libsql');
      return { type: 'better-sqlite3', driver, database: 'sample.sqlite' };
    }
    case 'postgresql':
      return { type: 'postgres', url };
    case 'postgres':
    case 'mysql':
    case 'mariadb':
      return { type, url };
    default:
      throw new Error('DATABASE_URL must start with postgres://, postgresql://, mysql:// or mariadb://');
  }
}
