import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';

const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

/** The content of a file of a process; empty if the process has ended. */
function readOf(pid: number, path: string): string {
  try {
    return readFileSync(`/proc/${pid}/${path}`, 'utf8');
  } catch {
    return '';
  }
}

const childrenOf = (pid: number): number[] =>
  readOf(pid, `task/${pid}/children`).split(' ').filter(Boolean).map(Number);

/** CPU time of a process and of its terminated children. */
function ownSeconds(pid: number): number {
  const stat = readOf(pid, 'stat');
  // The children of a process may end while they are listed.
  if (stat === '') return 0;
  // The second field, the process name, can contain spaces and parentheses.
  const fields = stat.replace(/^.*\) /s, '').split(' ');
  const [user, system, endedUser, endedSystem] = fields.slice(11, 15).map(Number) as [number, number, number, number];
  return (user + system + endedUser + endedSystem) / TICKS_PER_SECOND;
}

/** CPU time of a process and of all its descendants. */
export const cpuSeconds = (pid: number): number =>
  ownSeconds(pid) + childrenOf(pid).reduce((sum, child) => sum + cpuSeconds(child), 0);

/** The CPU time of each thread of a process and of its descendants, in nanoseconds. */
function threadTimes(pid: number): [thread: string, ns: number][] {
  const threads = existsSync(`/proc/${pid}/task`) ? readdirSync(`/proc/${pid}/task`) : [];
  const own = threads.map((thread): [string, number] => [
    thread,
    Number(readOf(pid, `task/${thread}/schedstat`).split(' ')[0]),
  ]);
  return [...own, ...childrenOf(pid).flatMap(threadTimes)];
}

/** Adds up the CPU time of a process and of its descendants, more exactly than {@link cpuSeconds}: for short measurements. */
export class CpuMeter {
  private readonly seenNs = new Map<string, number>();
  private totalNs = 0;

  constructor(private readonly pid: number) {}

  /** The CPU time since the first reading, in microseconds, without the last moments of threads that have ended. */
  readUs(): number {
    for (const [thread, ns] of threadTimes(this.pid)) {
      this.totalNs += Math.max(0, ns - (this.seenNs.get(thread) ?? 0));
      this.seenNs.set(thread, ns);
    }
    return this.totalNs / 1000;
  }
}

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
