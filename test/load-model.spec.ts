import { readFileSync } from 'node:fs';
import { format, resolveConfig } from 'prettier';
import { describe, expect, it } from 'vitest';
import type { AllCosts, Cost, Costs } from '../bench/load-model/costs.js';
import { withFigures } from '../bench/load-model/guide.js';
import { readInputs } from '../bench/load-model/inputs.js';
import { computeGrowth, fetchesPerDay, type Growth, type Inputs } from '../bench/load-model/model.js';

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
const costs = JSON.parse(read('bench/load-model/costs.json')) as AllCosts;
const guide = read('docs/ten-million-users.md');

const HOUR_S = 3600;
const DAY_S = 24 * HOUR_S;

const inputsOf = (options: string): Inputs => readInputs(options === '' ? [] : options.split(' '))!;
const growthOf = (options: string, of: Costs = costs.postgres): Growth => computeGrowth(inputsOf(options), of);

/** Numbers between 0 and 1 that are the same in each run. */
function randomNumbers(): () => number {
  let state = 1;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

/** Sends the requests of one user for many days, and counts how often something was fetched that lasts for a period. */
function simulate(
  { requests, sessions, sessionLengthS }: Pick<Inputs, 'requests' | 'sessions' | 'sessionLengthS'>,
  periodS: number,
  places: number,
): number {
  const random = randomNumbers();
  const days = 400;
  const starts = Array.from({ length: days * sessions }, () => random() * days * DAY_S);
  const instants = starts.flatMap((start) =>
    Array.from({ length: requests / sessions }, () => start + random() * sessionLengthS),
  );
  const validUntil: number[] = Array.from({ length: places }, () => 0);
  let fetched = 0;
  for (const instant of instants.toSorted((a, b) => a - b)) {
    const place = Math.floor(random() * places);
    if (instant < validUntil[place]!) continue;
    validUntil[place] = instant + periodS;
    fetched++;
  }
  return fetched / days;
}

describe('The load model', () => {
  const habits = { requests: 48, sessions: 4, sessionLengthS: 300 };
  it.each([
    ['a cached token', 10, 1],
    ['a cached token in one of four processes', 10, 4],
    ['a cached token that outlives the session', 15 * 60, 8],
    ['a last use', HOUR_S / 2, 1],
    ['an access token', HOUR_S, 1],
    ['something of a day', DAY_S, 1],
  ])('counts how often a user fetches %s, as a simulation of single requests does', (_, periodS, places) => {
    const simulated = simulate(habits, periodS, places);
    const computed = fetchesPerDay(habits, periodS, places);
    expect(computed / simulated, `${computed} instead of ${simulated}`).toBeGreaterThan(0.85);
    expect(computed / simulated, `${computed} instead of ${simulated}`).toBeLessThan(1.15);
  });

  it('computes the hit ratio that bench:cache-hits measures: nine of ten', () => {
    const steady = { requests: DAY_S, sessions: 1, sessionLengthS: DAY_S };
    expect(1 - fetchesPerDay(steady, 10) / DAY_S).toBeCloseTo(0.909, 2);
  });

  it('counts rows as those that come in the time that a row stays', () => {
    const { rows } = growthOf('--users 1k --daily 1k --devices 2 --logins 2 --lifespan 30d --retention 15d');
    expect(rows.live).toBeCloseTo(2000);
    expect(rows.exchanged).toBe(0);
    // 2,000 tokens expire in 30 days, and stay for 15 more.
    expect(rows.expired).toBeCloseTo(1000);
  });

  it('counts no more devices than there are logins in the life of a token', () => {
    expect(growthOf('--users 1k --daily 1k --devices 5 --logins 1 --lifespan 30d').rows.live).toBeCloseTo(1000);
  });

  it('counts two rows for each refresh: an access token, and a refresh token that was exchanged', () => {
    const options = '--users 1m --daily 1m --refresh --lifespan 1h --refresh-idle 10d --retention 1d';
    const { rows, mean } = growthOf(options);
    const perDay = mean.work.refreshes.perSecond * DAY_S;
    expect(perDay).toBeGreaterThan(1e6);
    expect(rows.exchanged).toBeCloseTo(perDay * 10, -1);
    expect(rows.expired).toBeGreaterThan(perDay * 2);
    expect(mean.work.pruning.perSecond * DAY_S).toBeGreaterThan(perDay * 2);
  });

  it('needs fewer rows and bytes with a shorter retention', () => {
    const [week, day] = ['7d', '1d'].map((retention) => growthOf(`--refresh --retention ${retention}`)) as [
      Growth,
      Growth,
    ];
    expect(day.tokenBytes.table).toBeLessThan(week.tokenBytes.table * 0.7);
    expect(day.rows.live).toBe(week.rows.live);
  });

  it('looks up every request without a cache, and fewer with one', () => {
    const [fresh, cached, spread] = ['', '--cache 30s --processes 1', '--cache 30s --processes 8'].map((options) =>
      growthOf(options),
    ) as [Growth, Growth, Growth];
    expect(fresh.mean.work['look-ups'].perSecond).toBeCloseTo((2e6 * 50) / DAY_S);
    expect(fresh.mean.work['cache hits'].perSecond).toBe(0);
    const { 'look-ups': lookUps, 'cache hits': hits } = cached.mean.work;
    expect(lookUps.perSecond + hits.perSecond).toBeCloseTo(fresh.mean.work['look-ups'].perSecond);
    expect(lookUps.perSecond).toBeLessThan(fresh.mean.work['look-ups'].perSecond / 2);
    expect(spread.mean.work['look-ups'].perSecond).toBeGreaterThan(lookUps.perSecond * 1.5);
  });

  it('multiplies what users do at the peak, and not pruning', () => {
    const { mean, peak } = growthOf('--peak 4');
    for (const name of ['look-ups', 'logins', 'last uses'] as const) {
      expect(peak.work[name].perSecond, name).toBeCloseTo(4 * mean.work[name].perSecond);
    }
    expect(peak.work.pruning).toEqual(mean.work.pruning);
  });

  it.each([
    ['one token', '1', 'lookUp'],
    ['32 tokens', '32', 'lookUpOf32'],
  ] as const)('costs what was measured for a statement with %s', (_, batch, name) => {
    const { perSecond, statementsPerSecond, nodeCores, databaseCores } = growthOf(`--batch ${batch}`).mean.work[
      'look-ups'
    ];
    const cost = costs.postgres[name];
    expect(nodeCores).toBeCloseTo((perSecond * cost.nodeUs) / 1e6);
    expect(databaseCores).toBeCloseTo((perSecond * cost.databaseUs) / 1e6);
    expect((statementsPerSecond / perSecond) * Number(batch)).toBeCloseTo(1, 2);
  });

  it('needs more connections if the database is further away, and a pool that is larger than its mean use', () => {
    const [near, far] = ['0.2ms', '5ms'].map((time) => growthOf(`--round-trip ${time} --processes 4`)) as [
      Growth,
      Growth,
    ];
    expect(far.busyConnections).toBeGreaterThan(near.busyConnections * 3);
    for (const { busyConnections, poolSize } of [near, far]) expect(poolSize * 4).toBeGreaterThan(busyConnections + 4);
  });

  it('reads numbers and times as the command line writes them, and rejects others by name', () => {
    expect(inputsOf('--users 10m --daily 200k --session-length 10m --round-trip 500ms')).toMatchObject({
      users: 10e6,
      dailyUsers: 200e3,
      sessionLengthS: 600,
      roundTripS: 0.5,
    });
    expect(inputsOf('--lifespan 30d').lifespanS).toBe(30 * DAY_S);
    expect(inputsOf('')).toMatchObject({ lifespanS: 30 * DAY_S, refresh: null, cacheTtlS: null });
    expect(inputsOf('--refresh')).toMatchObject({ lifespanS: HOUR_S, refresh: { idleS: 7 * DAY_S } });
    expect(readInputs(['--help'])).toBeNull();
    for (const options of [
      '--cache 10',
      '--users 0',
      '--users ten',
      '--daily 20m',
      '--sessions 60',
      '--processes 1.5',
    ]) {
      expect(() => inputsOf(options), options).toThrow(options.split(' ')[0]);
    }
  });
});

describe('The measured constants', () => {
  it.each(Object.entries(costs))('of %s are complete, with the command that measured them', (_, constants) => {
    const { measured, command, token, user, ...rest } = constants;
    expect(measured).toMatch(/\d{4}-\d\d-\d\d$/);
    const [, script] = /^npm run (\S+) -- /.exec(command)!;
    expect(JSON.parse(read('package.json')).scripts).toHaveProperty(script!);
    for (const { table, indexes } of [token, user]) {
      expect(table).toBeGreaterThan(50);
      expect(indexes).toBeGreaterThan(10);
    }
    const operations = Object.entries(rest).filter((entry): entry is [string, Cost] => typeof entry[1] === 'object');
    expect(operations).toHaveLength(10);
    for (const [name, { nodeUs, databaseUs, statements }] of operations) {
      expect(nodeUs, name).toBeGreaterThan(0);
      if (name === 'cacheHit') continue;
      expect(databaseUs, name).toBeGreaterThan(0);
      expect(statements, name).toBeGreaterThan(0);
    }
  });
});

describe('docs/ten-million-users.md', () => {
  // If this fails because the constants were measured again, run: npm run bench:load-model -- --write-guide
  it('shows what the model computes from the measured constants', async () => {
    const options = await resolveConfig(new URL('../docs/ten-million-users.md', import.meta.url));
    expect(guide.match(/<!-- figures -->/g)!.length).toBeGreaterThan(2);
    expect(await format(withFigures(guide, costs), { ...options, parser: 'markdown' })).toBe(guide);
  });

  it('shows the costs of partitions that bench:partitioning measured', () => {
    const results = read('bench/results/partitioning.md');
    const cellsOf = (text: string, title: string) =>
      text
        .split('\n')
        .find((line) => line.startsWith(`| ${title} `))!
        .split('|')
        .slice(2, -1)
        .map((cell) => Number(cell.replaceAll(/[ ,µs]/g, '')));
    for (const [shown, measured] of [
      ['partitions that a look-up reads', 'look-up'],
      ['partitions that a device list, login reads', 'device list'],
      ['look-up, CPU of the server', 'look-up: CPU'],
      ['32 look-ups in one statement, CPU', '32 look-ups: CPU'],
      ['pruning, CPU for each token', 'pruning: CPU for each token'],
    ] as const) {
      expect(cellsOf(guide, shown), shown).toEqual(cellsOf(results, measured));
      expect(cellsOf(guide, shown), shown).toHaveLength(4);
    }
  });

  it('is under 1,500 words, without its tables', () => {
    expect(guide.replaceAll(/^\|.*$/gm, '').split(/\s+/).length).toBeLessThan(1500);
  });
});
