import type { DataSource, QueryRunner } from 'typeorm';

/** Lends a query runner on the primary, which knows what a replica may not know yet. */
export async function onPrimary<T>(dataSource: DataSource, use: (runner: QueryRunner) => Promise<T>): Promise<T> {
  const runner = dataSource.createQueryRunner('master');
  try {
    return await use(runner);
  } finally {
    await runner.release();
  }
}
