import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { TypeOrmModuleOptions } from '@nestjs/typeorm';
import type { DataSourceOptions } from 'typeorm';

/** Packages with the interface of `better-sqlite3`. `libsql` needs no compiler to install. */
const DRIVERS = ['better-sqlite3', 'libsql'];

/**
 * Returns the options of a data source in memory, with the SQLite driver that is installed.
 *
 * @throws Error that names the packages to install, if none is installed
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

/** Loads the first package of a list that is installed: beside this package, or in the project of the tests. */
export async function findDriver(names: readonly string[]): Promise<unknown> {
  const fromApplication = createRequire(join(process.cwd(), 'package.json'));
  for (const name of names) {
    const driver =
      (await loadIfInstalled(async () => ((await import(name)) as { default: unknown }).default)) ??
      (await loadIfInstalled(async () => fromApplication(name) as unknown));
    if (driver) return driver;
  }
  throw new Error('ExpiringTokenTestingModule needs SQLite. Run npm install --save-dev libsql, or better-sqlite3.');
}

/** Returns null if the package is not installed. */
async function loadIfInstalled(load: () => Promise<unknown>): Promise<unknown> {
  try {
    return await load();
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND') return null;
    throw error;
  }
}
