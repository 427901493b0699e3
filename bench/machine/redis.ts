import { Redis } from 'ioredis';
import { freePort } from './free-port.js';
import { ServerProcess } from './server-process.js';

/** A private Redis server for the benchmark run, without persistence. */
export class PrivateRedis {
  private constructor(
    readonly url: string,
    private readonly server: ServerProcess,
  ) {}

  static async start(directory: string): Promise<PrivateRedis> {
    const port = await freePort();
    const options = ['--bind', '127.0.0.1', '--port', String(port), '--save', '', '--appendonly', 'no'];
    const server = new ServerProcess('Redis', ['redis-server', [...options, '--dir', directory]]);
    const url = `redis://127.0.0.1:${port}`;
    await server.waitUntilReady(() => ping(url));
    return new PrivateRedis(url, server);
  }

  stop(): Promise<void> {
    return this.server.stop();
  }
}

async function ping(url: string): Promise<void> {
  const client = new Redis(url, { lazyConnect: true, retryStrategy: null });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.ping();
  } finally {
    client.disconnect();
  }
}
