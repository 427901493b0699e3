import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Logins } from '../contestants/contestant.js';
import { pinned } from '../machine/cores.js';
import type { Assignment, Notice, Request } from './protocol.js';

const MAIN = fileURLToPath(new URL('main.js', import.meta.url));

/** An application in a process of its own. */
export class ApplicationProcess {
  private constructor(
    private readonly child: ChildProcess,
    readonly origin: string,
    readonly logins: Logins,
  ) {}

  /** @param core - the only one that it runs on; all of them if left out */
  static async start(assignment: Assignment, core?: number): Promise<ApplicationProcess> {
    // Flags of this process go to that one, such as --cpu-prof.
    const parameters = [...process.execArgv, MAIN, JSON.stringify(assignment)];
    const child = spawn(...pinned(core, process.execPath, ...parameters), {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: { ...process.env, NODE_ENV: 'production' },
    });
    try {
      const notice = await nextNotice(child);
      if (notice.type !== 'ready') throw new Error(notice.type);
      return new ApplicationProcess(child, notice.origin, notice.logins);
    } catch (error) {
      child.kill();
      throw new Error(`${assignment.role} on ${assignment.setting.adapter}: ${String(error)}`, { cause: error });
    }
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** Brings it to where a steady load would have it. */
  async settle(): Promise<void> {
    const settled = nextNotice(this.child);
    this.child.send('settle' satisfies Request);
    await settled;
  }

  async stop(): Promise<void> {
    const ended = once(this.child, 'exit');
    this.child.disconnect();
    await ended;
  }
}

async function nextNotice(child: ChildProcess): Promise<Notice> {
  const over = new AbortController();
  try {
    const { signal } = over;
    const message = once(child, 'message', { signal }).then(([notice]) => notice as Notice);
    const exit = once(child, 'exit', { signal }).then((): Notice => ({ type: 'failed', reason: 'it ended' }));
    exit.catch(() => undefined);
    const notice = await Promise.race([message, exit]);
    if (notice.type === 'failed') throw new Error(notice.reason);
    return notice;
  } finally {
    over.abort();
  }
}
