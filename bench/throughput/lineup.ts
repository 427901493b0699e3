import { join } from 'node:path';
import { ApplicationProcess } from '../application/application-process.js';
import type { Adapter } from '../contestants/contestant.js';
import { type ContestantName, ROSTER } from '../contestants/roster.js';
import { writeCredentials } from '../load/wrk.js';
import { SERVER_CORE } from '../machine/cores.js';
import type { Postgres } from '../machine/postgres.js';

/** A contestant on one adapter. */
export interface Entrant {
  contestant: ContestantName;
  adapter: Adapter;
}

/** An entrant that runs. */
export interface Runner extends Entrant {
  application: ApplicationProcess;
  /** The headers of those who are logged in, for wrk. */
  credentialsFile: string;
}

export const entrantsOf = (names: readonly ContestantName[], adapters: readonly Adapter[]): Entrant[] =>
  names.flatMap((contestant) =>
    ROSTER[contestant].adapters
      .filter((adapter) => adapters.includes(adapter))
      .map((adapter) => ({ contestant, adapter })),
  );

/** Starts an entrant on a database of its own, and logs its users in. */
export async function lineUp(
  { contestant, adapter }: Entrant,
  userCount: number,
  { postgres, directory }: { postgres: Postgres; directory: string },
): Promise<Runner> {
  const name = `${contestant}-${adapter}`;
  const setting = {
    adapter,
    postgresUrl: await postgres.createDatabase(name),
    sqliteFile: join(directory, `${name}.sqlite`),
  };
  const application = await ApplicationProcess.start({ role: contestant, setting, userCount }, SERVER_CORE);
  const credentialsFile = join(directory, `${name}.credentials`);
  writeCredentials(credentialsFile, application.logins.right);
  await postgres.settle(name);
  return { contestant, adapter, application, credentialsFile };
}
