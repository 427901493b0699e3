import { execFileSync } from 'node:child_process';
import { chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createConnection } from 'mysql2/promise';
import { LOAD_CORE, pinned } from '../machine/cores.js';
import { freePort } from '../machine/free-port.js';
import { ServerProcess } from '../machine/server-process.js';

const USER = 'mysql';

/** MariaDB refuses to run as root. */
function owner(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const idOf = (flag: string) => Number(execFileSync('id', [flag, USER], { encoding: 'utf8' }));
  return { uid: idOf('-u'), gid: idOf('-g') };
}

/** A MariaDB of the run's own. */
export class MariaDb {
  private constructor(
    private readonly port: number,
    private readonly server: ServerProcess,
  ) {}

  static async start(directory: string): Promise<MariaDb> {
    const data = join(directory, 'mariadb');
    mkdirSync(data, { mode: 0o700 });
    const { uid, gid } = owner();
    if (uid !== undefined && gid !== undefined) for (const path of [directory, data]) chownSync(path, uid, gid);
    const as = { uid, gid, cwd: data };
    const place = ['--no-defaults', `--datadir=${data}`];
    const cluster = [...place, '--auth-root-authentication-method=normal', '--skip-test-db'];
    execFileSync('mariadb-install-db', cluster, { ...as, stdio: 'ignore' });
    const port = await freePort();
    // With --gdb it ends by SIGINT, as PostgreSQL does.
    const files = ['--gdb', `--socket=${join(data, 's.sock')}`, `--pid-file=${join(data, 'pid')}`];
    const options = [...place, ...files, `--port=${port}`, '--bind-address=127.0.0.1', '--skip-log-bin'];
    const server = new ServerProcess('MariaDB', pinned(LOAD_CORE, 'mariadbd', ...options), as);
    const mariadb = new MariaDb(port, server);
    await server.answers(() => mariadb.query('SELECT 1'));
    return mariadb;
  }

  url(database = 'mysql'): string {
    return `mysql://root@127.0.0.1:${this.port}/${database}`;
  }

  /** Address of a new, empty database. */
  async createDatabase(name: string): Promise<string> {
    await this.query(`CREATE DATABASE \`${name}\``);
    return this.url(name);
  }

  async version(): Promise<string> {
    const [row] = await this.query('SELECT version() AS version');
    return String(row?.version).split('-')[0]!;
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
