import type { Cost, Costs, RowBytes } from './costs.js';

const DAY_S = 86_400;
const MONTH_S = 30 * DAY_S;

/** The habits of the users, and the options of the package. Durations are in seconds. */
export interface Inputs {
  /** Registered users. */
  users: number;
  /** Users of one day. */
  dailyUsers: number;
  /** Guarded requests of a daily user in a day. */
  requests: number;
  /** How often a daily user returns in a day. The requests are spread evenly over these sessions. */
  sessions: number;
  sessionLengthS: number;
  /** The busiest hour has this many times the requests of the mean hour. */
  peakFactor: number;
  /** Devices of a user that are logged in, the mean of all users. */
  devices: number;
  /** Logins of a user in 30 days, the mean of all users. */
  logins: number;
  /** The option `lifespan`. */
  lifespanS: number;
  /** The option `refresh`; null if it is not set. */
  refresh: { idleS: number; lifespanS: number } | null;
  /** The option `cache.ttl`; null if `cache` is not set. */
  cacheTtlS: number | null;
  lastUsedAccuracyS: number;
  /** The option `prune.retention`. */
  retentionS: number;
  /** Application processes. The requests of a session are spread over all of them. */
  processes: number;
  /** Mean number of tokens that one statement looks up. */
  batch: number;
  /** Time for one round trip to the database. */
  roundTripS: number;
}

/** What grows with load, in events per second. */
export interface Rates {
  requests: number;
  lookUps: number;
  lastUses: number;
  refreshes: number;
  logins: number;
  logouts: number;
  pruned: number;
}

/** Rows of `auth_token` by what they are. */
export interface Rows {
  /** Tokens with which a client can send requests or refresh. */
  live: number;
  /** Refresh tokens that were exchanged, kept so that their theft is noticed. */
  exchanged: number;
  /** Expired tokens that are not pruned yet. */
  expired: number;
}

/** What one kind of work costs. */
export interface Work {
  /** How often it happens, per second. */
  perSecond: number;
  statementsPerSecond: number;
  /** CPU seconds per second: the number of cores that are always busy. */
  nodeCores: number;
  databaseCores: number;
}

export type WorkName = 'look-ups' | 'cache hits' | 'last uses' | 'refreshes' | 'logins' | 'logouts' | 'pruning';

export interface Load {
  work: Record<WorkName, Work>;
  total: Work;
}

export interface Growth {
  rows: Rows;
  tokenBytes: RowBytes;
  userBytes: RowBytes;
  mean: Load;
  peak: Load;
  /** Connections that are busy at the peak, the mean. */
  busyConnections: number;
  /** Size of the pool of each process. */
  poolSize: number;
}

/**
 * How often something that lasts for a period is fetched, if each event that finds none fetches it. After each fetch the events
 * of one period find it.
 */
const fetches = (events: number, windowS: number, periodS: number): number =>
  events / (1 + (events * periodS) / windowS);

/**
 * How often a daily user fetches something that lasts for a period, in a day: a cached token, a last use, an access token.
 * The first request of a session fetches it, unless it is left from the session before; so do later requests.
 *
 * @param places - how many processes fetch it separately
 */
export function fetchesPerDay(
  { requests, sessions, sessionLengthS }: Pick<Inputs, 'requests' | 'sessions' | 'sessionLengthS'>,
  periodS: number,
  places = 1,
): number {
  const perSession = requests / sessions / places;
  // A process that gets a request of the session fetches it once. With many processes, some get none.
  const first = places === 1 ? 1 : 1 - Math.exp(-perSession);
  const further = Math.max(0, fetches(perSession, sessionLengthS, periodS) - first);
  return Math.min(requests, places * (fetches(sessions * first, DAY_S, periodS) + sessions * further));
}

function ratesOf(inputs: Inputs): Rates {
  const { users, dailyUsers, refresh, cacheTtlS, lifespanS, lastUsedAccuracyS, processes } = inputs;
  const perSecond = (perDay: number) => (dailyUsers * perDay) / DAY_S;
  const requests = perSecond(inputs.requests);
  const lookUps = cacheTtlS === null ? requests : perSecond(fetchesPerDay(inputs, cacheTtlS, processes));
  // The first use of each access token is stored.
  const lastUses = perSecond(
    fetchesPerDay(inputs, refresh ? Math.min(lastUsedAccuracyS, lifespanS) : lastUsedAccuracyS),
  );
  const refreshes = refresh ? perSecond(fetchesPerDay(inputs, lifespanS)) : 0;
  const logins = (users * inputs.logins) / MONTH_S;
  const expiring = Math.min(logins, devicesOf(inputs) / (refresh?.idleS ?? lifespanS));
  // A refresh leaves an access token and an exchanged refresh token, both of which expire.
  const pruned = expiring + (refresh ? logins + 2 * refreshes : 0);
  return { requests, lookUps, lastUses, refreshes, logins, logouts: logins - expiring, pruned };
}

/** Devices that are logged in: no more than there are logins in the longest life of a device. */
function devicesOf({ users, devices, logins, refresh, lifespanS }: Inputs): number {
  return users * Math.min(devices, (logins * (refresh?.lifespanS ?? lifespanS)) / MONTH_S);
}

/** By Little's law: as many rows as come in the time that a row stays. */
function rowsOf(inputs: Inputs, { refreshes, logins, pruned }: Rates): Rows {
  const { refresh, lifespanS, retentionS } = inputs;
  const accessTokens = refresh ? (refreshes + logins) * lifespanS : 0;
  return {
    live: devicesOf(inputs) + accessTokens,
    exchanged: refresh ? refreshes * refresh.idleS : 0,
    expired: pruned * retentionS,
  };
}

const work = (perSecond: number, { nodeUs, databaseUs, statements }: Cost): Work => ({
  perSecond,
  statementsPerSecond: perSecond * statements,
  nodeCores: (perSecond * nodeUs) / 1e6,
  databaseCores: (perSecond * databaseUs) / 1e6,
});

const mapCost = (first: Cost, second: Cost, combine: (one: number, other: number) => number): Cost => ({
  nodeUs: combine(first.nodeUs, second.nodeUs),
  databaseUs: combine(first.databaseUs, second.databaseUs),
  statements: combine(first.statements, second.statements),
});

/** The cost of one of several that share their statements, from what one alone costs and what one of many costs. */
const sharedCost = (alone: Cost, ofMany: Cost, many: number, size: number): Cost =>
  mapCost(alone, ofMany, (one, other) => {
    const fixed = ((one - other) * many) / (many - 1);
    return one - fixed + fixed / size;
  });

/** In a process uses are collected for this long. */
const COLLECTING_S = 0.1;
const MANY_USES = 1000;

function loadOf(inputs: Inputs, costs: Costs, rates: Rates, factor: number): Load {
  const { processes, batch, cacheTtlS } = inputs;
  const at = (rate: number) => rate * factor;
  const usesOfProcess = at(rates.lastUses) / processes;
  const lastUse = sharedCost(costs.lastUse, costs.lastUseOfMany, MANY_USES, 1 + usesOfProcess * COLLECTING_S);
  // The user is read by name, and the password is hashed.
  const { databaseUs, statements } = costs.lookUp;
  const verification: Cost = { nodeUs: costs.hash.nodeUs, databaseUs, statements };
  const login = mapCost(costs.login, verification, (one, other) => one + other);
  const all: Record<WorkName, Work> = {
    'look-ups': work(at(rates.lookUps), sharedCost(costs.lookUp, costs.lookUpOf32, 32, batch)),
    'cache hits': work(cacheTtlS === null ? 0 : at(rates.requests - rates.lookUps), costs.cacheHit),
    'last uses': work(at(rates.lastUses), lastUse),
    refreshes: work(at(rates.refreshes), costs.refresh),
    logins: work(at(rates.logins), login),
    logouts: work(at(rates.logouts), costs.logout),
    // Runs all the time, at the mean rate.
    pruning: work(rates.pruned, costs.prune),
  };
  const sum = (field: keyof Work) => Object.values(all).reduce((total, each) => total + each[field], 0);
  const total = {
    perSecond: sum('perSecond'),
    statementsPerSecond: sum('statementsPerSecond'),
    nodeCores: sum('nodeCores'),
    databaseCores: sum('databaseCores'),
  };
  return { work: all, total };
}

const times = ({ table, indexes }: RowBytes, count: number): RowBytes => ({
  table: table * count,
  indexes: indexes * count,
});

/** Standard deviations of a Poisson distribution, of which a thousandth is further above the mean. */
const RARE = 3;

/** Computes the size of the tables, and the load of the processes and of the database. */
export function computeGrowth(inputs: Inputs, costs: Costs): Growth {
  const rates = ratesOf(inputs);
  const rows = rowsOf(inputs, rates);
  const peak = loadOf(inputs, costs, rates, inputs.peakFactor);
  // A connection is busy while the server works and while a statement is on its way.
  const busyConnections = peak.total.statementsPerSecond * inputs.roundTripS + peak.total.databaseCores;
  const busyOfProcess = busyConnections / inputs.processes;
  return {
    rows,
    tokenBytes: times(costs.token, rows.live + rows.exchanged + rows.expired),
    userBytes: times(costs.user, inputs.users),
    mean: loadOf(inputs, costs, rates, 1),
    peak,
    busyConnections,
    poolSize: Math.ceil(busyOfProcess + RARE * Math.sqrt(busyOfProcess)) + 1,
  };
}
