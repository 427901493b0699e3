import type { Postgres } from '../machine/postgres.js';
import { guardCpuExcesses, guardCpuTable, measureGuardCpu } from './measure.js';
import { measureServerCpu, serverCpuExcesses, serverCpuTable } from './server.js';

/**
 * Prints the CPU time of the guards, in one process and in a loaded server, and sets a failing exit code if a figure is above
 * its bound.
 */
export async function checkCpu(
  rounds: { guards: number; server: number },
  machine: { postgres: Postgres; directory: string },
): Promise<void> {
  const guards = await measureGuardCpu(rounds.guards, machine.postgres);
  process.stdout.write(`${guardCpuTable(guards)}\n\n`);
  const server = await measureServerCpu(rounds.server, machine);
  process.stdout.write(`${serverCpuTable(server)}\n\n`);
  const excesses = [...guardCpuExcesses(guards), ...serverCpuExcesses(server)];
  for (const line of excesses) process.stdout.write(`${line}\n`);
  if (excesses.length > 0) process.exitCode = 1;
}
