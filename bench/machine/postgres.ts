import { execFileSync } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Client, type QueryResult } from 'pg';
import { LOAD_CORE, pinned } from './cores.js';
import { CpuMeter, cpuSeconds } from './cpu-time.js';
import { freePort } from './free-port.js';
import { ServerProcess } from './server-process.js';

const USER = 'postgres';

/** No autovacuum during a measurement, and enough connections for the pools of all contestants. Other settings are defaults. */
const SETTINGS = { autovacuum: 'off', max_connections: '400', listen_addresses: '127.0.0.1' };

/** Finds a PostgreSQL program. Debian installs them outside the PATH, in one directory per version. */
function program(name: string): string {
  const root = '/usr/lib/postgresql';
  const versions = existsSync(root) ? readdirSync(root).toSorted((a, b) => Number(b) - Number(a)) : [];
  return versions.length > 0 ? join(root, versions[0]!, 'bin', name) : name;
}

/** The user and group to run as if this process is root: PostgreSQL refuses to run as root. */
function owner(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const idOf = (flag: string) => Number(execFileSync('id', [flag, USER], { encoding: 'utf8' }));
  return { uid: idOf('-u'), gid: idOf('-g') };
}

/** A private PostgreSQL server for the benchmark run. */
export class Postgres {
  private constructor(
    private readonly port: number,
    private readonly server: ServerProcess,
    private readonly cpuMeter = new CpuMeter(server.pid),
  ) {}

  /** @param more - settings besides those of every benchmark */
  static async start(directory: string, more: Readonly<Record<string, string>> = {}): Promise<Postgres> {
    const data = join(directory, 'postgres');
    mkdirSync(data, { mode: 0o700 });
    const { uid, gid } = owner();
    if (uid !== undefined && gid !== undefined) for (const path of [directory, data]) chownSync(path, uid, gid);
    const spawnOptions = { uid, gid, cwd: data };
    const cluster = ['-D', data, '-A', 'trust', '-U', USER, '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync'];
    execFileSync(program('initdb'), cluster, { ...spawnOptions, stdio: 'ignore' });
    const port = await freePort();
    const settings = Object.entries({ ...SETTINGS, ...more, port, unix_socket_directories: data });
    const options = settings.flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const server = new ServerProcess(
      'PostgreSQL',
      pinned(LOAD_CORE, program('postgres'), '-D', data, ...options),
      spawnOptions,
    );
    const postgres = new Postgres(port, server);
    await server.waitUntilReady(() => postgres.query('SELECT 1'));
    return postgres;
  }

  url(database = 'postgres'): string {
    return `postgres://${USER}@127.0.0.1:${this.port}/${database}`;
  }

  /** Creates an empty database and returns its URL. */
  async createDatabase(name: string): Promise<string> {
    await this.query(`CREATE DATABASE "${name}"`);
    return this.url(name);
  }

  /** Performs the maintenance that PostgreSQL would otherwise do in the background after the tables were filled. */
  async vacuumAndCheckpoint(database: string): Promise<void> {
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

  /** For differences: see {@link CpuMeter}. */
  cpuMicroseconds(): number {
    return this.cpuMeter.readUs();
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
