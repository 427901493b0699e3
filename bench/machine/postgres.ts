import { execFileSync } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Client, type QueryResult } from 'pg';
import { LOAD_CORE, pinned } from './cores.js';
import { cpuSeconds } from './cpu-time.js';
import { freePort } from './free-port.js';
import { ServerProcess } from './server-process.js';

const USER = 'postgres';

/** Nothing runs beside what is measured, and each contestant's pool finds room. All else is as PostgreSQL comes. */
const SETTINGS = { autovacuum: 'off', max_connections: '400', listen_addresses: '127.0.0.1' };

/** Debian keeps the programs of PostgreSQL out of the path, one directory a version. */
function program(name: string): string {
  const root = '/usr/lib/postgresql';
  const versions = existsSync(root) ? readdirSync(root).toSorted((a, b) => Number(b) - Number(a)) : [];
  return versions.length > 0 ? join(root, versions[0]!, 'bin', name) : name;
}

/** PostgreSQL refuses to run as root. */
function owner(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const idOf = (flag: string) => Number(execFileSync('id', [flag, USER], { encoding: 'utf8' }));
  return { uid: idOf('-u'), gid: idOf('-g') };
}

/** A PostgreSQL of the run's own. */
export class Postgres {
  private constructor(
    private readonly port: number,
    private readonly server: ServerProcess,
  ) {}

  static async start(directory: string): Promise<Postgres> {
    const data = join(directory, 'postgres');
    mkdirSync(data, { mode: 0o700 });
    const { uid, gid } = owner();
    if (uid !== undefined && gid !== undefined) for (const path of [directory, data]) chownSync(path, uid, gid);
    const as = { uid, gid, cwd: data };
    const cluster = ['-D', data, '-A', 'trust', '-U', USER, '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync'];
    execFileSync(program('initdb'), cluster, { ...as, stdio: 'ignore' });
    const port = await freePort();
    const settings = Object.entries({ ...SETTINGS, port, unix_socket_directories: data });
    const options = settings.flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const server = new ServerProcess('PostgreSQL', pinned(LOAD_CORE, program('postgres'), '-D', data, ...options), as);
    const postgres = new Postgres(port, server);
    await server.answers(() => postgres.query('SELECT 1'));
    return postgres;
  }

  url(database = 'postgres'): string {
    return `postgres://${USER}@127.0.0.1:${this.port}/${database}`;
  }

  /** Address of a new, empty database. */
  async createDatabase(name: string): Promise<string> {
    await this.query(`CREATE DATABASE "${name}"`);
    return this.url(name);
  }

  /** Does now what would be done in the background once tables are filled. */
  async settle(database: string): Promise<void> {
    await this.query('VACUUM ANALYZE', database);
    await this.query('CHECKPOINT');
  }

  async version(): Promise<string> {
    const { rows } = await this.query('SHOW server_version');
    return String(rows[0].server_version).split(' ')[0]!;
  }

  cpuSeconds(): number {
    return cpuSeconds(this.server.pid);
  }

  stop(): Promise<void> {
    return this.server.stop();
  }

  private async query(sql: string, database?: string): Promise<QueryResult> {
    const client = new Client({ connectionString: this.url(database) });
    try {
      await client.connect();
      return await client.query(sql);
    } finally {
      await client.end();
    }
  }
}
