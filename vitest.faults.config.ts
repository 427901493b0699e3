import { defineConfig, mergeConfig } from 'vitest/config';
import config from './vitest.config.js';

export default mergeConfig(
  { ...config, test: { ...config.test, include: [], exclude: [], globalSetup: [], reporters: [] } },
  defineConfig({
    test: {
      include: ['test/faults/**/*.spec.ts'],
      globalSetup: ['test/fixtures/private-servers.ts'],
      // What is measured is not to wait for other tests.
      fileParallelism: false,
      testTimeout: 120_000,
      reporters: ['default', './test/fixtures/fault-reporter.ts', './test/fixtures/count-reporter.ts'],
    },
  }),
);
