import { Agent } from 'node:http';
import { setImmediate as nextTurn, setTimeout as nextTimer } from 'node:timers/promises';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { onEveryDatabase, onEveryEnvironment, type TestApp } from '../fixtures/app.js';
import { isCode, type Known, populate, STORES } from '../fixtures/lookup-populations.js';
import { authenticate, Member, type Person, tokensOf } from '../fixtures/lookups.js';

describe('Tokens that are looked up simultaneously', () => {
  onEveryDatabase((environment) => {
    for (const [name, boot] of Object.entries(STORES)) {
      describe(`with ${name}`, () => {
        let app: TestApp;
        let known: Known[];
        beforeAll(async () => {
          const started = await boot(environment);
          ({ app } = started);
          known = await populate(app, started.dataSource, started.ids);
        });

        /** Lets time pass between look-ups, as between requests that do not come simultaneously. */
        const pauses = {
          none: () => undefined,
          microtask: () => Promise.resolve(),
          tick: () => new Promise<void>((resolve) => process.nextTick(resolve)),
          turn: () => nextTurn(),
          timer: () => nextTimer(),
        };
        const pause = fc.constantFrom(...(Object.keys(pauses) as (keyof typeof pauses)[]));
        const presented = () => fc.array(fc.nat(known.length - 1), { maxLength: 300, size: 'max' });

        it('are never mixed up, in whichever turns of the event loop the look-ups start', async () => {
          const property = fc.asyncProperty(
            fc.array(fc.tuple(presented(), pause), { minLength: 1, maxLength: 8, size: 'max' }),
            async (bursts) => {
              const answers: Promise<[answer: string, expected: string]>[] = [];
              const authenticateKnown = async ({ plainText, expected, tokenId }: Known): Promise<[string, string]> => {
                const answer = await app.tokens.authenticate(plainText).then(
                  ({ user, token }) => `${(user as Person).id} ${token.id} ${token.userId}`,
                  (error: { code: string }) => error.code,
                );
                return [answer, isCode(expected) ? expected : `${expected} ${tokenId} ${expected}`];
              };
              for (const [tokens, passes] of bursts) {
                // One in ten is requested twice simultaneously.
                answers.push(
                  ...tokens.flatMap((at) => (at % 10 ? [at] : [at, at])).map((at) => authenticateKnown(known[at]!)),
                );
                await pauses[passes]();
              }
              for (const [index, [answer, expected]] of (await Promise.all(answers)).entries()) {
                expect(answer, `answer ${index}`).toBe(expected);
              }
            },
          );
          await fc.assert(property, { numRuns: 6 });
        });

        it('are each returned to their own request, whether all are the same token or all differ', async () => {
          for (const [kind, some] of Object.entries({
            'the same token': Array.from({ length: 600 }, () => known[0]!),
            'different tokens': known.slice(0, 1200),
          })) {
            const found = await authenticate(
              app,
              some.map(({ plainText }) => plainText),
            );
            const foundIds = found.map((user) =>
              typeof user === 'string' ? user : String((user as Person | Member).id),
            );
            expect(foundIds, kind).toEqual(some.map(({ expected }) => expected));
          }
        });
      });
    }

    for (const name of ['the built-in store', 'typeOrmUsers']) {
      it(`with ${name} are separate objects for each request, and so are their users`, async () => {
        const { app, dataSource, ids } = await STORES[name]!(environment);
        const tokens = [...(await tokensOf(app, dataSource, [ids[0], ids[0], ids[1]]))];
        const presented = [...tokens, ...tokens];
        const found = await Promise.all(presented.map((token) => app.tokens.authenticate(token)));
        expect(new Set(found.map(({ user }) => user)).size).toBe(presented.length);
        expect(new Set(found.map(({ token }) => token)).size).toBe(presented.length);
        Object.assign(found[0]!.user as object, { active: false });
        found[0]!.token.created = new Date(0);
        expect(found[3]).toMatchObject({ user: { active: true }, token: { created: new Date(app.clock.now) } });
        expect(await authenticate(app, [tokens[0]!])).toMatchObject([{ active: true }]);
      });
    }
  });

  onEveryEnvironment((environment) => {
    it('are not mixed up over HTTP', async () => {
      const { app, dataSource, ids } = await STORES['the built-in store']!(environment);
      const known = await populate(app, dataSource, ids);
      const agent = new Agent({ keepAlive: true, maxSockets: 100 });
      const presented = Array.from({ length: 250 }, () => known[Math.trunc(Math.random() * known.length)]!);
      const answers = await Promise.all(
        presented.map(async ({ plainText }) => {
          const { status, json } = await app.send('/me', {
            agent,
            headers: [['Authorization', `Bearer ${plainText}`]],
          });
          return status === 200 ? [json.user.id, json.token.id] : [json.code, undefined];
        }),
      );
      agent.destroy();
      expect(answers).toEqual(
        presented.map(({ expected, tokenId }) => [expected, isCode(expected) ? undefined : tokenId]),
      );
    });
  });
});
