import { defineConfig, mergeConfig } from 'vitest/config';
import { shared } from './vitest.config.js';

export default mergeConfig(
  shared,
  defineConfig({
    test: {
      include: ['test/clusters/**/*.spec.ts'],
      globalSetup: ['test/fixtures/clusters/engines.ts'],
      // What is measured must not wait for other tests.
      fileParallelism: false,
      testTimeout: 180_000,
      reporters: ['default', './test/fixtures/fault-reporter.ts', './test/fixtures/count-reporter.ts'],
    },
  }),
);
