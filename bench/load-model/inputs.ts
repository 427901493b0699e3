import { parseArgs } from 'node:util';
import type { Inputs } from './model.js';

export const USAGE = `npm run bench:load-model -- [options]

  --users <number>            registered users; 10m by default
  --daily <number>            users of one day; 2m by default
  --requests <number>         guarded requests of a daily user in a day; 50 by default
  --sessions <number>         how often a daily user returns in a day; 4 by default
  --session-length <time>     5m by default
  --peak <number>             requests in the busiest hour, as a multiple of the mean hour; 3 by default
  --devices <number>          devices of a user that are logged in, the mean of all users; 1.5 by default
  --logins <number>           logins of a user in 30 days, the mean of all users; 1.5 by default
  --lifespan <time>           the option lifespan; 30d by default, 1h with --refresh
  --refresh                   the option refresh is set
  --refresh-idle <time>       the option refresh.idle; 7d by default
  --refresh-lifespan <time>   the option refresh.lifespan; 90d by default
  --cache <time>              the option cache.ttl; without it nothing is cached
  --accuracy <time>           the option lastUsedAccuracy; 30m by default
  --retention <time>          the option prune.retention; 7d by default
  --processes <number>        application processes; 8 by default
  --batch <number>            mean number of tokens that one statement looks up; 1 by default
  --round-trip <time>         time for one round trip to the database; 1ms by default
  --help                      print this text

Numbers may end with k or m, for thousands and millions. Times are like 500ms, 30s, 15m, 1h or 30d.
`;

const FACTORS: Record<string, number> = { '': 1, k: 1e3, m: 1e6 };
const SECONDS: Record<string, number> = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86_400 };

/** Reads a number above 0, with one of the given units. */
function read(option: string, text: string, units: Record<string, number>, example: string): number {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)([a-z]*)$/.exec(text) ?? [];
  const value = Number(number) * (units[unit] ?? Number.NaN);
  if (!(value > 0)) throw new Error(`--${option}: "${text}" must be above 0, for example ${example}`);
  return value;
}

/** Reads the inputs of the model; null if the user asked for help. */
export function readInputs(args: readonly string[]): Inputs | null {
  const { values } = parseArgs({
    args: [...args],
    options: {
      users: { type: 'string', default: '10m' },
      daily: { type: 'string', default: '2m' },
      requests: { type: 'string', default: '50' },
      sessions: { type: 'string', default: '4' },
      'session-length': { type: 'string', default: '5m' },
      peak: { type: 'string', default: '3' },
      devices: { type: 'string', default: '1.5' },
      logins: { type: 'string', default: '1.5' },
      lifespan: { type: 'string' },
      refresh: { type: 'boolean', default: false },
      'refresh-idle': { type: 'string', default: '7d' },
      'refresh-lifespan': { type: 'string', default: '90d' },
      cache: { type: 'string' },
      accuracy: { type: 'string', default: '30m' },
      retention: { type: 'string', default: '7d' },
      processes: { type: 'string', default: '8' },
      batch: { type: 'string', default: '1' },
      'round-trip': { type: 'string', default: '1ms' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return null;
  const number = (option: keyof typeof values, text = String(values[option])) => read(option, text, FACTORS, '2m');
  const seconds = (option: keyof typeof values, text = String(values[option])) => read(option, text, SECONDS, '30m');
  const inputs: Inputs = {
    users: number('users'),
    dailyUsers: number('daily'),
    requests: number('requests'),
    sessions: number('sessions'),
    sessionLengthS: seconds('session-length'),
    peakFactor: number('peak'),
    devices: number('devices'),
    logins: number('logins'),
    lifespanS: seconds('lifespan', values.lifespan ?? (values.refresh ? '1h' : '30d')),
    refresh: values.refresh ? { idleS: seconds('refresh-idle'), lifespanS: seconds('refresh-lifespan') } : null,
    cacheTtlS: values.cache === undefined ? null : seconds('cache'),
    lastUsedAccuracyS: seconds('accuracy'),
    retentionS: seconds('retention'),
    processes: number('processes'),
    batch: number('batch'),
    roundTripS: seconds('round-trip'),
  };
  check(inputs);
  return inputs;
}

/** Rejects inputs that contradict each other. */
function check({ users, dailyUsers, requests, sessions, processes, batch }: Inputs): void {
  if (dailyUsers > users) throw new Error('--daily must not be above --users');
  if (sessions > requests)
    throw new Error('--sessions must not be above --requests: a session has at least one request');
  if (!Number.isInteger(processes)) throw new Error('--processes must be a whole number');
  if (batch < 1) throw new Error('--batch must not be below 1');
}
