import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { LoggedInUser } from '../contestants/contestant.js';
import { LOAD_CORE, pinned } from '../machine/cores.js';

/** The path is relative to bench/dist/load/. The compiler does not copy Lua files there. */
const SCRIPT = fileURLToPath(new URL('../../load/rotate.lua', import.meta.url));

export const CONNECTIONS = 32;

/** The result that wrk reports. */
interface Summary {
  requests: number;
  durationUs: number;
  p50Us: number;
  p99Us: number;
  refused: number;
  lost: number;
}

/** Writes the credentials of the logged-in users to a file that wrk reads. */
export function writeCredentials(file: string, logins: readonly LoggedInUser[]): void {
  writeFileSync(file, logins.map(({ credential: { name, value } }) => `${name}\t${value}\n`).join(''));
}

/** Sends requests as fast as the server responds. Throws if a response is not a success. */
export async function load(url: string, credentialsFile: string, seconds: number): Promise<Summary> {
  // With -T, a slow response on a busy machine is measured and does not end the run.
  const options = ['-t1', `-c${CONNECTIONS}`, `-d${seconds}s`, '-T30s', '-s', SCRIPT, url, '--', credentialsFile];
  const { stdout } = await promisify(execFile)(...pinned(LOAD_CORE, 'wrk', ...options));
  const summary = JSON.parse(stdout.trim().split('\n').at(-1)!) as Summary;
  if (summary.refused > 0 || summary.lost > 0 || summary.requests === 0) {
    throw new Error(`${summary.refused} of ${summary.requests} requests were rejected, ${summary.lost} were lost`);
  }
  return summary;
}
