import { connect } from 'node:net';

/** A server that all processes share. */
interface RequiredServer {
  /** The environment variable that holds the server's URL. */
  variable: string;
  /** What kind of server it is. */
  kind: string;
  example: string;
  /** Port of each scheme that the URL may have. */
  ports: Record<string, number>;
}

const SERVERS: readonly RequiredServer[] = [
  {
    variable: 'DATABASE_URL',
    kind: 'PostgreSQL, MariaDB or MySQL',
    example: 'postgres://postgres@127.0.0.1:5432/postgres',
    ports: { 'postgres:': 5432, 'postgresql:': 5432, 'mysql:': 3306, 'mariadb:': 3306 },
  },
  {
    variable: 'REDIS_URL',
    kind: 'Redis',
    example: 'redis://127.0.0.1:6379',
    ports: { 'redis:': 6379, 'rediss:': 6379 },
  },
];

const CONNECT_TIMEOUT_MS = 2000;

/**
 * Finds every setting that is missing or wrong and every server that does not accept connections, so that one message can
 * list them all.
 *
 * @returns one line for each problem
 */
export async function findMissingServers(environment: NodeJS.ProcessEnv): Promise<string[]> {
  const problems = await Promise.all(SERVERS.map((server) => problemOf(server, environment[server.variable])));
  return problems.filter((problem) => problem !== undefined);
}

async function problemOf({ variable, kind, example, ports }: RequiredServer, value = ''): Promise<string | undefined> {
  const advice = `${variable} must name the ${kind} server that the processes share, for example ${variable}=${example}`;
  if (value === '') return `${advice} (it is not set)`;
  const url = URL.canParse(value) ? new URL(value) : undefined;
  const defaultPort = url && ports[url.protocol];
  if (!url || !defaultPort) return `${advice} (it must start with ${Object.keys(ports).join('//, ')}//)`;
  // A URL without a host names a socket file, which only the driver can find.
  if (url.hostname === '') return undefined;
  const host = url.hostname.replaceAll(/[[\]]/g, '');
  const port = Number(url.port || defaultPort);
  if (await acceptsConnections(host, port)) return undefined;
  return `${advice} (no server answers at ${host}, port ${port})`;
}

function acceptsConnections(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: CONNECT_TIMEOUT_MS });
    const finish = (isOpen: boolean) => {
      socket.destroy();
      resolve(isOpen);
    };
    socket.once('connect', () => finish(true));
    socket.once('error', () => finish(false));
    socket.once('timeout', () => finish(false));
  });
}
