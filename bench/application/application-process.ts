import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Logins } from '../contestants/contestant.js';
import { pinned } from '../machine/cores.js';
import type { Assignment, Notice, Request } from './protocol.js';

const MAIN = fileURLToPath(new URL('main.js', import.meta.url));

/** An application that runs in a separate process. */
export class ApplicationProcess {
  private constructor(
    private readonly child: ChildProcess,
    readonly origin: string,
    readonly logins: Logins,
  ) {}

  /** @param core - the only CPU core that the process may use; all cores if omitted */
  static async start(assignment: Assignment, core?: number): Promise<ApplicationProcess> {
    // The child gets the Node.js flags of this process, for example --cpu-prof.
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

  /** Puts the application into the state that a steady load would leave, before a round is measured. */
  async prepareRound(): Promise<void> {
    const prepared = nextNotice(this.child);
    this.child.send('prepare-round' satisfies Request);
    await prepared;
  }

  async stop(): Promise<void> {
    const ended = once(this.child, 'exit');
    this.child.disconnect();
    await ended;
  }
}

async function nextNotice(child: ChildProcess): Promise<Notice> {
  const abortController = new AbortController();
  try {
    const { signal } = abortController;
    const message = once(child, 'message', { signal }).then(([notice]) => notice as Notice);
    const exit = once(child, 'exit', { signal }).then((): Notice => ({ type: 'failed', reason: 'the process ended' }));
    exit.catch(() => undefined);
    const notice = await Promise.race([message, exit]);
    if (notice.type === 'failed') throw new Error(notice.reason);
    return notice;
  } finally {
    abortController.abort();
  }
}
