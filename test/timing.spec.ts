import { randomUUID } from 'node:crypto';
import { Agent } from 'node:http';
import { describe, expect, it } from 'vitest';
import { PASSWORD, TestEnvironment, type TestApp } from './fixtures/app.js';
import { IS_THOROUGH, report } from './fixtures/iterations.js';
import { mannWhitney, median } from './fixtures/mann-whitney.js';

const LOGINS = 2000;
const PATIENCE_MS = 300_000;

/** Reasons to reject a login, by their names. */
type Reasons = Record<string, readonly [username: string, password: string]>;

const pairsOf = (names: string[]) =>
  names.flatMap((one, index) => names.slice(index + 1).map((other) => [one, other] as const));

function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, at: Math.random() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

/** Measures how long rejections take, in milliseconds, by reason: one at a time, in random order. */
async function measure(app: TestApp, reasons: Reasons): Promise<Record<string, number[]>> {
  const names = Object.keys(reasons);
  const samples: Record<string, number[]> = Object.fromEntries(names.map((name) => [name, []]));
  const order = shuffled(Array.from({ length: LOGINS }, (_, index) => names[index % names.length]!));
  const agent = new Agent({ keepAlive: true });
  for (const name of order) {
    const [username, password] = reasons[name]!;
    const started = performance.now();
    const { status } = await app.send('/auth/login', { method: 'POST', body: { username, password }, agent });
    samples[name]!.push(performance.now() - started);
    expect(status, name).toBe(401);
  }
  agent.destroy();
  return samples;
}

describe('mannWhitney', () => {
  const gauss = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  const sample = (shift = 0) => Array.from({ length: 600 }, () => gauss() + shift);

  it('returns the p of textbooks', () => {
    // 1 to 20 against 11 to 30: U = 50 of 400, σ² = 400/12 · (41 - 60/1560).
    const [low, high] = [0, 10].map((shift) => Array.from({ length: 20 }, (_, index) => index + shift));
    expect(mannWhitney(low!, high!)).toBeCloseTo(4.96e-5, 6);
    expect(mannWhitney(high!, low!)).toBeCloseTo(mannWhitney(low!, high!), 12);
    expect(mannWhitney(low!, low!)).toBeCloseTo(1, 6);
    expect(mannWhitney([1, 1, 1], [1, 1])).toBe(1);
  });

  it('distinguishes shifted samples, and equal ones only as often as p says', () => {
    for (const shift of [-0.5, 0.5]) {
      expect(mannWhitney(sample(), sample(shift)), `shifted by ${shift}`).toBeLessThan(1e-4);
    }
    const rounds = Array.from({ length: 300 }, () => mannWhitney(sample(), sample()));
    const below = (p: number) => rounds.filter((value) => value < p).length;
    // 150 and 3 are expected.
    expect(below(0.5)).toBeGreaterThan(105);
    expect(below(0.5)).toBeLessThan(195);
    expect(below(0.01)).toBeLessThan(15);
  });
});

describe.runIf(IS_THOROUGH)('The time of a rejected login', () => {
  it(
    'does not reveal whether the user exists or is active (R19)',
    async () => {
      const environment = new TestEnvironment('sqlite', 'express');
      await environment.open();
      const app = await environment.boot();
      // Otherwise, if the process pauses for five seconds, the server closes a connection on which the agent is about to send.
      app.nest.getHttpServer().keepAliveTimeout = 0;
      const known = await app.createUser();
      const inactive = await app.createUser();
      await app.users.setActive(inactive.id, false);
      const reasons: Reasons = {
        wrong: [known.username, 'wrong horse battery staple.'],
        // As long as the other names: a longer body would change the measured time.
        unknown: [`user-${randomUUID().replaceAll('-', '')}`.slice(0, known.username.length), PASSWORD],
        inactive: [inactive.username, PASSWORD],
      };
      const compare = async () => {
        const samples = await measure(app, reasons);
        const medians = Object.entries(samples).map(([name, values]) => `${name} ${median(values).toFixed(2)}`);
        report(`R19 ${LOGINS} logins, medians in ms: ${medians.join(', ')}`);
        const pairs = pairsOf(Object.keys(reasons)).map(([one, other]) => {
          const [a, b] = [samples[one]!, samples[other]!];
          const difference = Math.abs(median(a) - median(b));
          const p = mannWhitney(a, b);
          report(`R19 ${one} and ${other}: difference ${difference.toFixed(3)} ms, p ${p.toFixed(3)}`);
          // On a quiet machine, p shows a difference of a tenth of a millisecond. If p is larger, the medians differ only by noise.
          return p > 0.01;
        });
        return pairs.every(Boolean);
      };
      // Of a hundred pairs of equal samples, p is below 0.01 for one. The comparison is then repeated with new samples.
      expect((await compare()) || (await compare())).toBe(true);
      await environment.close();
    },
    PATIENCE_MS,
  );
});
