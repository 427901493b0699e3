import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

function childrenOf(pid: number): number[] {
  const path = `/proc/${pid}/task/${pid}/children`;
  return existsSync(path) ? readFileSync(path, 'utf8').split(' ').filter(Boolean).map(Number) : [];
}

/** CPU time of a process and of its terminated children. */
function ownSeconds(pid: number): number {
  // The second field, the process name, can contain spaces and parentheses.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');
  const [user, system, endedUser, endedSystem] = fields.slice(11, 15).map(Number) as [number, number, number, number];
  return (user + system + endedUser + endedSystem) / TICKS_PER_SECOND;
}

/** CPU time of a process and of all its descendants. */
export const cpuSeconds = (pid: number): number =>
  ownSeconds(pid) + childrenOf(pid).reduce((sum, child) => sum + cpuSeconds(child), 0);

/** Columns of /proc/stat that count idle time and I/O wait. */
const IDLE_COLUMNS = [3, 4];
/** The last column to add up. The columns after it are already included in the first two. */
const STEAL_COLUMN = 7;

/** CPU time of all processes of the machine, plus the time that the host gave to other virtual machines ("steal"). */
export function busySeconds(): number {
  const [all] = readFileSync('/proc/stat', 'utf8').split('\n', 1);
  const columns = all!
    .split(/ +/)
    .slice(1, STEAL_COLUMN + 2)
    .map(Number);
  const ticks = columns.filter((_, index) => !IDLE_COLUMNS.includes(index)).reduce((sum, count) => sum + count, 0);
  return ticks / TICKS_PER_SECOND;
}
