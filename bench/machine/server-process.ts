import { type ChildProcess, spawn, type SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';

const PATIENCE_MS = 30_000;

/** A server of a database, started for the run and ended with it. */
export class ServerProcess {
  private readonly child: ChildProcess;

  constructor(
    private readonly name: string,
    [program, parameters]: [string, string[]],
    options: Pick<SpawnOptions, 'cwd' | 'uid' | 'gid'> = {},
  ) {
    this.child = spawn(program, parameters, { ...options, stdio: 'ignore' });
    process.once('exit', this.end);
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** Waits until a call that needs the server succeeds. */
  async answers(ask: () => Promise<unknown>): Promise<void> {
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      try {
        await ask();
        return;
      } catch (error) {
        if (performance.now() > deadline) throw new Error(`${this.name} does not start`, { cause: error });
        await wait(20);
      }
    }
  }

  async stop(): Promise<void> {
    process.off('exit', this.end);
    const ended = once(this.child, 'exit');
    this.end();
    await ended;
  }

  private readonly end = () => this.child.kill('SIGINT');
}
