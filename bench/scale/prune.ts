import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Client } from '../load/client.js';
import { sendAtConstantRate } from '../load/constant-rate.js';
import { pinned, SERVER_CORE } from '../machine/cores.js';
import { log } from '../report/log.js';
import { quantile } from '../report/statistics.js';
import type { Assignment, Notice } from './application.js';
import type { FilledTable } from './table.js';

const MAIN = fileURLToPath(new URL('application.js', import.meta.url));
const LOGINS = 100;
const PER_SECOND = 200;
const WARM_UP_MS = 3000;
const IDLE_MS = 15_000;

/** Durations of guarded requests, with and without simultaneous pruning. */
export interface Pruning {
  deleted: number;
  perSecond: number;
  idleP99Ms: number;
  pruningP99Ms: number;
  pruningMaxMs: number;
  tookMs: number;
}

/** An application that runs in a separate process. */
class Application {
  private readonly child;
  private readonly ended;

  constructor(assignment: Assignment) {
    this.child = spawn(...pinned(SERVER_CORE, process.execPath, MAIN, JSON.stringify(assignment)), {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: { ...process.env, NODE_ENV: 'production' },
    });
    this.ended = once(this.child, 'exit');
  }

  async notice<Type extends Notice['type']>(type: Type): Promise<Extract<Notice, { type: Type }>> {
    const end = this.ended.then((): [Notice] => [{ type: 'failed', reason: 'the process ended' }]);
    const [notice] = (await Promise.race([once(this.child, 'message'), end])) as [Notice];
    if (notice.type !== type) throw new Error(`the application: ${JSON.stringify(notice)}`);
    return notice as Extract<Notice, { type: Type }>;
  }

  async prune(): Promise<number> {
    this.child.send('prune');
    return (await this.notice('pruned')).deleted;
  }

  async stop(): Promise<void> {
    if (this.child.connected) this.child.disconnect();
    await this.ended;
  }
}

/** Prunes the table while it sends guarded requests. Throws if one of them gets a status other than 200. */
export async function measurePruning(table: FilledTable): Promise<Pruning> {
  const application = new Application({ database: table.options, logins: LOGINS });
  try {
    const { origin, credentials } = await application.notice('ready');
    const client = new Client(origin);
    const measureDuring = async (work: Promise<unknown>) => {
      const finished = new AbortController();
      let sent = 0;
      const guarded = sendAtConstantRate(PER_SECOND, finished.signal, async () => {
        const { status } = await client.me(credentials[sent++ % credentials.length]!);
        if (status !== 200) throw new Error(`a guarded request got status ${status}`);
      });
      const [durationsMs] = await Promise.all([guarded, work.finally(() => finished.abort())]);
      return durationsMs;
    };
    try {
      await measureDuring(wait(WARM_UP_MS));
      const idleMs = await measureDuring(wait(IDLE_MS));
      const started = performance.now();
      const pruning = application.prune();
      const pruningMs = await measureDuring(pruning);
      const measured = {
        deleted: await pruning,
        perSecond: PER_SECOND,
        idleP99Ms: quantile(idleMs, 0.99),
        pruningP99Ms: quantile(pruningMs, 0.99),
        pruningMaxMs: quantile(pruningMs, 1),
        tookMs: performance.now() - started,
      };
      log(`${table.name}, pruning: ${JSON.stringify(measured)}`);
      return measured;
    } finally {
      client.close();
    }
  } finally {
    await application.stop();
  }
}
