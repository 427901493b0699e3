import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

function childrenOf(pid: number): number[] {
  const path = `/proc/${pid}/task/${pid}/children`;
  return existsSync(path) ? readFileSync(path, 'utf8').split(' ').filter(Boolean).map(Number) : [];
}

/** CPU time that a process has used, and those of its children that have ended. */
function ownSeconds(pid: number): number {
  // The name in the second field may hold anything.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');
  const [user, system, endedUser, endedSystem] = fields.slice(11, 15).map(Number) as [number, number, number, number];
  return (user + system + endedUser + endedSystem) / TICKS_PER_SECOND;
}

/** CPU time that a process and all that it has started have used. */
export const cpuSeconds = (pid: number): number =>
  ownSeconds(pid) + childrenOf(pid).reduce((sum, child) => sum + cpuSeconds(child), 0);

/** Columns of /proc/stat in which nothing was there to do. */
const IDLE_COLUMNS = [3, 4];
/** Those after it are parts of the first two. */
const STEAL_COLUMN = 7;

/** CPU time that all processes of the machine have used, and what its host has given to others. */
export function busySeconds(): number {
  const [all] = readFileSync('/proc/stat', 'utf8').split('\n', 1);
  const columns = all!
    .split(/ +/)
    .slice(1, STEAL_COLUMN + 2)
    .map(Number);
  const ticks = columns.filter((_, index) => !IDLE_COLUMNS.includes(index)).reduce((sum, count) => sum + count, 0);
  return ticks / TICKS_PER_SECOND;
}
