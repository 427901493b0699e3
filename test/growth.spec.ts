import { beforeAll, describe, it } from 'vitest';
import { onEveryDatabase } from './fixtures/app.js';
import { bootGrowthApps, expectLinearGrowth, GROWTH_SHAPES, type GrowthApps } from './fixtures/growth.js';

/* faults/growth.spec.ts measures the same up to a hundred thousand rows. */
describe('The cost of each route and each method, for a user with a thousand and with ten thousand', () => {
  onEveryDatabase((environment) => {
    let apps: GrowthApps;
    beforeAll(async () => {
      apps = await bootGrowthApps(environment);
    });

    it.each(GROWTH_SHAPES)('%s, grows no faster than their number', { timeout: 300_000 }, async (shape) => {
      await expectLinearGrowth(environment, apps, shape, [1000, 10_000]);
    });
  });
});
