import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Client } from '../load/client.js';
import { paced } from '../load/paced.js';
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

/** Of guarded requests, with and without a sweep beside them. */
export interface Pruning {
  deleted: number;
  perSecond: number;
  idleP99Ms: number;
  pruningP99Ms: number;
  pruningMaxMs: number;
  tookMs: number;
}

/** An application in a process of its own. */
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
    const end = this.ended.then((): [Notice] => [{ type: 'failed', reason: 'it ended' }]);
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

/** Sweeps the table beside guarded requests, all of which must be answered 200. */
export async function measurePruning(table: FilledTable): Promise<Pruning> {
  const application = new Application({ database: table.options, logins: LOGINS });
  try {
    const { origin, credentials } = await application.notice('ready');
    const client = new Client(origin);
    const beside = async (work: Promise<unknown>) => {
      const over = new AbortController();
      let asked = 0;
      const guarded = paced(PER_SECOND, over.signal, async () => {
        const { status } = await client.me(credentials[asked++ % credentials.length]!);
        if (status !== 200) throw new Error(`a guarded request was answered ${status}`);
      });
      const [durationsMs] = await Promise.all([guarded, work.finally(() => over.abort())]);
      return durationsMs;
    };
    try {
      await beside(wait(WARM_UP_MS));
      const idleMs = await beside(wait(IDLE_MS));
      const started = performance.now();
      const sweep = application.prune();
      const pruningMs = await beside(sweep);
      const measured = {
        deleted: await sweep,
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
