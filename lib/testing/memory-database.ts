import type { TypeOrmModuleOptions } from '@nestjs/typeorm';

/** Packages with the interface of `better-sqlite3`. `libsql` needs no compiler to install. */
const DRIVERS = ['better-sqlite3', 'libsql'];

/**
 * A data source in memory that is gone when it is closed, by whichever driver the application has.
 *
 * @throws Error that names what to install where there is none
 */
export async function memoryDatabase(entities: readonly object[]): Promise<TypeOrmModuleOptions> {
  return {
    type: 'better-sqlite3',
    driver: await findDriver(),
    database: ':memory:',
    entities: [...entities] as never,
    autoLoadEntities: true,
    synchronize: true,
    retryAttempts: 0,
  };
}

async function findDriver(): Promise<unknown> {
  for (const name of DRIVERS) {
    try {
      return ((await import(name)) as { default: unknown }).default;
    } catch (error) {
      const { code } = error as { code?: unknown };
      if (code !== 'ERR_MODULE_NOT_FOUND' && code !== 'MODULE_NOT_FOUND') throw error;
    }
  }
  throw new Error('ExpiringTokenTestingModule needs SQLite: npm install --save-dev libsql, or better-sqlite3.');
}
