import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { TypeOrmModuleOptions } from '@nestjs/typeorm';
import type { DataSourceOptions } from 'typeorm';

/** Packages with the interface of `better-sqlite3`. `libsql` needs no compiler to install. */
const DRIVERS = ['better-sqlite3', 'libsql'];

/**
 * A data source in memory that is gone when it is closed, by whichever driver the application has.
 *
 * @throws Error that names what to install where there is none
 */
export async function memoryDatabase(entities: DataSourceOptions['entities']): Promise<TypeOrmModuleOptions> {
  return {
    type: 'better-sqlite3',
    driver: await findDriver(DRIVERS),
    database: ':memory:',
    entities,
    autoLoadEntities: true,
    synchronize: true,
    retryAttempts: 0,
  };
}

/** The first of some packages that there is, beside this one or where the tests run. */
export async function findDriver(names: readonly string[]): Promise<unknown> {
  const fromApplication = createRequire(join(process.cwd(), 'package.json'));
  for (const name of names) {
    const found =
      (await unlessMissing(async () => ((await import(name)) as { default: unknown }).default)) ??
      (await unlessMissing(async () => fromApplication(name) as unknown));
    if (found) return found;
  }
  throw new Error('ExpiringTokenTestingModule needs SQLite: npm install --save-dev libsql, or better-sqlite3.');
}

async function unlessMissing(load: () => Promise<unknown>): Promise<unknown> {
  try {
    return await load();
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND') return null;
    throw error;
  }
}
