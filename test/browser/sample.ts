import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { inject, vi } from 'vitest';
import { freePort } from '../fixtures/free-port.js';
import { request } from '../fixtures/http.js';
import { capture } from '../fixtures/captured-output.js';

const MAIN = resolve('.sample-dist/sample-app/main.js');

/** The sample application as users run it: in its own process, with its own SQLite file. */
export class Sample {
  private child: ChildProcess;

  private constructor(
    private readonly port: number,
    private readonly directory: string,
    private readonly lifespan: string,
  ) {}

  /** @param lifespan - lifespan of access tokens */
  static async start(lifespan: string): Promise<Sample> {
    const sample = new Sample(await freePort(), mkdtempSync(join(inject('directory'), 'sample_')), lifespan);
    await sample.start();
    return sample;
  }

  get origin(): string {
    return `http://localhost:${this.port}`;
  }

  /** Starts the application, or restarts it on the same port and database. */
  async start(): Promise<void> {
    const { DATABASE_URL: _, ...inherited } = process.env;
    this.child = spawn(process.execPath, [MAIN], {
      cwd: this.directory,
      env: { ...inherited, PORT: String(this.port), TOKEN_LIFESPAN: this.lifespan },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      stream.on('data', (chunk: Buffer) => capture(chunk.toString()));
    }
    await vi.waitFor(() => request(this.origin, '/'), { timeout: 20_000 });
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill();
    await once(this.child, 'exit');
  }
}
