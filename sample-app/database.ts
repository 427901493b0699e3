import { createRequire } from 'node:module';
import type { TypeOrmModuleOptions } from '@nestjs/typeorm';

/** The database that a URL names, or a SQLite file in the working directory. */
export function databaseOptions(url: string | undefined): TypeOrmModuleOptions {
  return {
    ...connectionOptions(url),
    autoLoadEntities: true,
    // Makes the tables. An application with data to lose runs migrations instead.
    synchronize: true,
  };
}

function connectionOptions(url: string | undefined): TypeOrmModuleOptions {
  const type = url?.split(':', 1)[0];
  switch (type) {
    case undefined: {
      // libsql has the interface of better-sqlite3, and needs no compiler to install.
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
