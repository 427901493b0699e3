/** A task as {@link FairQueue} orders it. */
export interface QueuedTask {
  /** An urgent task runs before all others of its key. */
  readonly isUrgent: boolean;
  /** On whose behalf the task runs. Those who wait take turns, however many tasks each of them has. */
  readonly principal: string;
  /** How long the task may take, waiting included, in milliseconds. */
  readonly timeoutMs: number;
  /** When it is aborted, the task is no longer started. */
  readonly signal: AbortSignal;
}

interface Waiting extends QueuedTask {
  readonly sinceMs: number;
  readonly start: () => void;
  readonly reject: (error: unknown) => void;
}

/** Tasks that wait, by principal. The first principal is the next one. */
type Lane = Map<string, Waiting[]>;

/** What waits for one key: the urgent tasks, and the others. */
interface Lanes {
  readonly urgent: Lane;
  readonly usual: Lane;
}

/** How much of the average duration is the last task's. */
const LAST_TASK_SHARE = 0.2;

/** A task is started only if this many times the average duration of a task is left, or half of its time. */
const REQUIRED_DURATIONS = 2;

/**
 * Runs tasks with the same key one after another in this process: urgent ones first, and those of different principals in
 * turn. A task that has waited so long that it would probably not finish in time is rejected and not started, so that a crowd
 * cannot make all tasks fail.
 *
 * For transactions, whose key is the user, a queue is more than order: many simultaneous requests for one user occupy one
 * database connection and wait here, instead of waiting on the server with all connections of the pool.
 */
export class FairQueue {
  private readonly keys = new Map<string, Lanes>();
  /** The average duration of the tasks that succeeded, of all keys. */
  private averageMs = 0;

  /** The number of urgent tasks that wait with this key, or of the others; if a principal is given, on its behalf. */
  waiting(key: string, isUrgent: boolean, principal?: string): number {
    const lanes = this.keys.get(key);
    if (!lanes) return 0;
    const lane = isUrgent ? lanes.urgent : lanes.usual;
    if (principal !== undefined) return live(lane.get(principal)).length;
    return sum([...lane.values()].map((tasks) => live(tasks).length));
  }

  /** Runs a task when it is its turn. A task of a key for which nothing runs or waits starts immediately. */
  async run<T>(key: string, task: QueuedTask, work: () => Promise<T>): Promise<T> {
    await this.turn(key, task);
    const startedAtMs = performance.now();
    try {
      const result = await work();
      this.averageMs += LAST_TASK_SHARE * (performance.now() - startedAtMs - this.averageMs);
      return result;
    } finally {
      this.startNext(key);
    }
  }

  private async turn(key: string, task: QueuedTask): Promise<void> {
    const lanes = this.keys.get(key);
    if (!lanes) {
      this.keys.set(key, { urgent: new Map(), usual: new Map() });
      return;
    }
    await new Promise<void>((start, reject) => {
      const lane = task.isUrgent ? lanes.urgent : lanes.usual;
      const waiting = { ...task, sinceMs: performance.now(), start, reject };
      lane.set(task.principal, [...live(lane.get(task.principal)), waiting]);
    });
  }

  private startNext(key: string): void {
    const lanes = this.keys.get(key)!;
    for (let next = takeNext(lanes); next; next = takeNext(lanes)) {
      if (this.canFinish(next)) return next.start();
      next.reject(new Error('too many changes of one user wait, so this one could not be made in time'));
    }
    this.keys.delete(key);
  }

  private canFinish({ signal, sinceMs, timeoutMs }: Waiting): boolean {
    const leftMs = timeoutMs - (performance.now() - sinceMs);
    return !signal.aborted && leftMs > Math.min(REQUIRED_DURATIONS * this.averageMs, timeoutMs / 2);
  }
}

/** Removes the next task from the lanes. Its principal goes to the end of the lane. */
function takeNext({ urgent, usual }: Lanes): Waiting | undefined {
  const lane = urgent.size > 0 ? urgent : usual;
  const [first] = lane;
  if (!first) return undefined;
  const [principal, tasks] = first;
  const next = tasks.shift();
  lane.delete(principal);
  if (tasks.length > 0) lane.set(principal, tasks);
  return next;
}

/** The tasks whose callers still wait. */
const live = (tasks: readonly Waiting[] = []): Waiting[] => tasks.filter(({ signal }) => !signal.aborted);

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
