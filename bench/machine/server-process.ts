import { type ChildProcess, spawn, type SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';

const START_TIMEOUT_MS = 30_000;

/** A database server that is started for the benchmark run and stopped at its end. */
export class ServerProcess {
  private readonly child: ChildProcess;

  constructor(
    private readonly name: string,
    [program, parameters]: [string, string[]],
    options: Pick<SpawnOptions, 'cwd' | 'uid' | 'gid'> = {},
  ) {
    this.child = spawn(program, parameters, { ...options, stdio: 'ignore' });
    process.once('exit', this.kill);
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** Retries a call that needs the server until the call succeeds. */
  async waitUntilReady(connect: () => Promise<unknown>): Promise<void> {
    const deadline = performance.now() + START_TIMEOUT_MS;
    for (;;) {
      try {
        await connect();
        return;
      } catch (error) {
        if (performance.now() > deadline)
          throw new Error(`${this.name} did not start within ${START_TIMEOUT_MS / 1000} s`, { cause: error });
        await wait(20);
      }
    }
  }

  async stop(): Promise<void> {
    process.off('exit', this.kill);
    const ended = once(this.child, 'exit');
    this.kill();
    await ended;
  }

  private readonly kill = () => this.child.kill('SIGINT');
}
