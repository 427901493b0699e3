import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ResolvedOptions } from '../lib/options/resolve-options.js';
import { TokenCache } from '../lib/tokens/lookup/token.cache.js';
import { FoundToken } from '../lib/tokens/lookup/found-token.js';
import type { TokenLookup } from '../lib/tokens/lookup/token.lookup.js';
import type { CheckedColumns } from '../lib/tokens/token.queries.js';
import { type RemoteChanges, TokenChanges } from '../lib/tokens/token-changes.js';

/** How many users the cache remembers as changed. */
const MAX_USERS = 2000;

/** A look-up that is under way: first it reads the row, and later the row arrives. */
interface LookUp {
  read(): void;
  arrive(): void;
}

/**
 * A cache over a database in memory, in which the test decides when a look-up reads and when its answer arrives. Each user has
 * one token, whose row is a version: each change of the user adds one. A version of null: the token is deleted.
 */
class Simulation {
  readonly lookUps: LookUp[] = [];
  private readonly changes = new TokenChanges();
  private readonly versions = new Map<string, number | null>();
  private readonly cache: TokenCache;

  constructor() {
    const lookup = { find: ({ id }: { id: string }) => this.lookUp(id) } as unknown as TokenLookup;
    const remote = { isComplete: true, received: 0 } as RemoteChanges;
    const options = { cache: { max: 100, ttlMs: 3_600_000 } } as ResolvedOptions;
    this.cache = new TokenCache(options, this.changes, remote, lookup);
  }

  get status() {
    return this.cache.status;
  }

  versionOf(user: string): number | null {
    return this.versions.get(user) ?? (this.versions.has(user) ? null : 0);
  }

  /** Commits a change, and publishes it. */
  change(user: string, version: number | null): void {
    this.versions.set(user, version);
    this.publish(user);
  }

  publish(user: string | null): void {
    void this.changes.publish(user);
  }

  /** Sends a request with the token of a user, and returns the version that it gets. */
  async request(user: string): Promise<number | null> {
    const found = await this.cache.find({ id: user, digested: user }, () => true);
    return found && (found.user as { version: number }).version;
  }

  /** Lets all look-ups read and arrive, the further ones too that they cause. */
  async finish(): Promise<void> {
    await settled();
    for (let each = this.lookUps.shift(); each; each = this.lookUps.shift()) {
      each.arrive();
      await settled();
    }
  }

  private lookUp(user: string): Promise<FoundToken | null> {
    return new Promise((resolve) => {
      let row: { version: number | null } | undefined;
      const read = () => (row ??= { version: this.versionOf(user) });
      const arrive = () => {
        const { version } = read();
        const columns = { userId: user, lastUsedAt: null } as CheckedColumns;
        // The cache needs no entity.
        const readToken = () => expect.unreachable();
        const found = new FoundToken(columns, { readToken, readUser: () => ({ version }) });
        resolve(version === null ? null : found);
      };
      this.lookUps.push({ read, arrive });
    });
  }
}

/** Lets all promises continue that can. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

describe('A look-up that is under way when tokens change', () => {
  it('is cached if only tokens of other users changed', async () => {
    const simulation = new Simulation();
    const first = simulation.request('ann');
    simulation.change('ben', 1);
    const second = simulation.request('ann');
    await simulation.finish();
    expect(await Promise.all([first, second, simulation.request('ann')])).toEqual([0, 0, 0]);
    expect(simulation.status).toMatchObject({ hits: 2, lookUps: 1 });
  });

  it('is not cached if tokens of its user changed, and later requests share another one (R7)', async () => {
    const simulation = new Simulation();
    const first = simulation.request('ann');
    simulation.lookUps[0]!.read();
    simulation.change('ann', 1);
    const later = Array.from({ length: 500 }, () => simulation.request('ann'));
    await simulation.finish();
    expect(await first).toBe(0);
    expect(new Set(await Promise.all(later))).toEqual(new Set([1]));
    expect(await simulation.request('ann')).toBe(1);
    expect(simulation.status).toMatchObject({ hits: 500, lookUps: 2 });
  });

  it.each([
    ['the tokens of any user changed', (simulation: Simulation) => simulation.publish(null)],
    [
      'more users changed than the cache remembers',
      (simulation: Simulation) => {
        for (let index = 0; index <= MAX_USERS; index++) simulation.publish(`other ${index}`);
      },
    ],
  ])('is not cached if %s', async (_, publish) => {
    const simulation = new Simulation();
    const request = simulation.request('ann');
    publish(simulation);
    await simulation.finish();
    await request;
    const next = simulation.request('ann');
    await simulation.finish();
    await next;
    expect(simulation.status).toMatchObject({ hits: 0, lookUps: 2 });
  });

  it('is not shared with requests that arrive after a token was created that it did not find', async () => {
    const simulation = new Simulation();
    simulation.change('ann', null);
    const first = simulation.request('ann');
    simulation.lookUps[0]!.read();
    simulation.change('ann', 1);
    const second = simulation.request('ann');
    await simulation.finish();
    expect(await Promise.all([first, second])).toEqual([null, 1]);
  });

  it('never gives a request what was changed before the request arrived, in any order of events', async () => {
    const user = fc.constantFrom('ann', 'ben', 'eve');
    const place = fc.nat(20);
    const event = fc.oneof(
      { weight: 4, arbitrary: fc.record({ type: fc.constant('request' as const), user }) },
      { weight: 2, arbitrary: fc.record({ type: fc.constant('change' as const), user, isDeleted: fc.boolean() }) },
      { weight: 3, arbitrary: fc.record({ type: fc.constant('read' as const), place }) },
      { weight: 3, arbitrary: fc.record({ type: fc.constant('arrive' as const), place }) },
      { weight: 3, arbitrary: fc.constant({ type: 'settle' as const }) },
      {
        weight: 1,
        arbitrary: fc.record({ type: fc.constant('crowd' as const), users: fc.constantFrom(10, 1999, 2001) }),
      },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(event, { minLength: 5, maxLength: 60 }), async (events) => {
        const simulation = new Simulation();
        /** All versions that the token of a user had, the latest last. */
        const history = new Map<string, (number | null)[]>(['ann', 'ben', 'eve'].map((name) => [name, [0]]));
        const requests: Promise<void>[] = [];
        const request = async (name: string): Promise<void> => {
          const versions = history.get(name)!;
          const arrival = versions.length - 1;
          const version = await simulation.request(name);
          expect(versions.slice(arrival)).toContain(version);
        };
        for (const each of events) {
          const { lookUps } = simulation;
          if (each.type === 'request') requests.push(request(each.user));
          else if (each.type === 'change') {
            const versions = history.get(each.user)!;
            // Each version is another number, so that an earlier one is recognized.
            const version = each.isDeleted ? null : versions.length;
            if (versions.at(-1) === null && version === null) continue;
            versions.push(version);
            simulation.change(each.user, version);
          } else if (each.type === 'read') lookUps[each.place % lookUps.length]?.read();
          else if (each.type === 'arrive') lookUps.splice(each.place % lookUps.length, 1)[0]?.arrive();
          else if (each.type === 'settle') await settled();
          else for (let index = 0; index < each.users; index++) simulation.publish(`other ${index}`);
        }
        await simulation.finish();
        await Promise.all(requests);
        for (const [name, versions] of history) {
          const last = request(name);
          await simulation.finish();
          await last;
          expect(simulation.versionOf(name)).toBe(versions.at(-1));
        }
      }),
      { numRuns: 300 },
    );
  });
});
