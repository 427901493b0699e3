import { join } from 'node:path';
import { ApplicationProcess } from '../application/application-process.js';
import type { Adapter } from '../contestants/contestant.js';
import { type ContestantName, ROSTER } from '../contestants/roster.js';
import { writeCredentials } from '../load/wrk.js';
import { SERVER_CORE } from '../machine/cores.js';
import type { Postgres } from '../machine/postgres.js';

/** A contestant on one adapter. */
export interface Variant {
  contestant: ContestantName;
  adapter: Adapter;
}

/** A variant whose application is running. */
export interface RunningVariant extends Variant {
  application: ApplicationProcess;
  /** File with the headers of the logged-in users, for wrk. */
  credentialsFile: string;
}

export const variantsOf = (names: readonly ContestantName[], adapters: readonly Adapter[]): Variant[] =>
  names.flatMap((contestant) =>
    ROSTER[contestant].adapters
      .filter((adapter) => adapters.includes(adapter))
      .map((adapter) => ({ contestant, adapter })),
  );

/**
 * Starts a variant with an empty database, and logs its users in.
 *
 * @param prefix - of the name of the database and of the files, if another measurement of the run starts the same variant
 */
export async function startVariant(
  { contestant, adapter }: Variant,
  userCount: number,
  { postgres, directory }: { postgres: Postgres; directory: string },
  prefix = '',
): Promise<RunningVariant> {
  const name = `${prefix}${contestant}-${adapter}`;
  const setting = {
    adapter,
    postgresUrl: await postgres.createDatabase(name),
    sqliteFile: join(directory, `${name}.sqlite`),
  };
  const application = await ApplicationProcess.start({ role: contestant, setting, userCount }, SERVER_CORE);
  const credentialsFile = join(directory, `${name}.credentials`);
  writeCredentials(credentialsFile, application.logins.valid);
  await postgres.vacuumAndCheckpoint(name);
  return { contestant, adapter, application, credentialsFile };
}
