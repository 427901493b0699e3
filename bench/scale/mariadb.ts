import { execFileSync } from 'node:child_process';
import { chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createConnection } from 'mysql2/promise';
import { LOAD_CORE, pinned } from '../machine/cores.js';
import { CpuMeter } from '../machine/cpu-time.js';
import { freePort } from '../machine/free-port.js';
import { ServerProcess } from '../machine/server-process.js';

const USER = 'mysql';

/** The user and group to run as if this process is root: MariaDB refuses to run as root. */
function owner(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const idOf = (flag: string) => Number(execFileSync('id', [flag, USER], { encoding: 'utf8' }));
  return { uid: idOf('-u'), gid: idOf('-g') };
}

/** A private MariaDB server for the benchmark run. */
export class MariaDb {
  private constructor(
    private readonly port: number,
    private readonly server: ServerProcess,
    private readonly cpuMeter = new CpuMeter(server.pid),
  ) {}

  static async start(directory: string): Promise<MariaDb> {
    const data = join(directory, 'mariadb');
    mkdirSync(data, { mode: 0o700 });
    const { uid, gid } = owner();
    if (uid !== undefined && gid !== undefined) for (const path of [directory, data]) chownSync(path, uid, gid);
    const spawnOptions = { uid, gid, cwd: data };
    const dataOptions = ['--no-defaults', `--datadir=${data}`];
    const cluster = [...dataOptions, '--auth-root-authentication-method=normal', '--skip-test-db'];
    execFileSync('mariadb-install-db', cluster, { ...spawnOptions, stdio: 'ignore' });
    const port = await freePort();
    // With --gdb, SIGINT stops MariaDB, as it stops PostgreSQL.
    const files = ['--gdb', `--socket=${join(data, 's.sock')}`, `--pid-file=${join(data, 'pid')}`];
    const options = [...dataOptions, ...files, `--port=${port}`, '--bind-address=127.0.0.1', '--skip-log-bin'];
    const server = new ServerProcess('MariaDB', pinned(LOAD_CORE, 'mariadbd', ...options), spawnOptions);
    const mariadb = new MariaDb(port, server);
    await server.waitUntilReady(() => mariadb.query('SELECT 1'));
    return mariadb;
  }

  url(database = 'mysql'): string {
    return `mysql://root@127.0.0.1:${this.port}/${database}`;
  }

  /** Creates an empty database and returns its URL. */
  async createDatabase(name: string): Promise<string> {
    await this.query(`CREATE DATABASE \`${name}\``);
    return this.url(name);
  }

  async version(): Promise<string> {
    const [row] = await this.query('SELECT version() AS version');
    return String(row?.version).split('-')[0]!;
  }

  /** For differences: see {@link CpuMeter}. */
  cpuMicroseconds(): number {
    return this.cpuMeter.readUs();
  }

  stop(): Promise<void> {
    return this.server.stop();
  }

  private async query(sql: string): Promise<{ version?: unknown }[]> {
    const connection = await createConnection(this.url());
    try {
      const [rows] = await connection.query(sql);
      return rows as { version?: unknown }[];
    } finally {
      await connection.end();
    }
  }
}
