import { defineConfig, mergeConfig } from 'vitest/config';
import { shared } from './vitest.config.js';

export default mergeConfig(
  shared,
  defineConfig({
    test: {
      include: ['test/browser/**/*.spec.ts'],
      globalSetup: ['test/browser/build.ts'],
      reporters: ['default', './test/fixtures/count-reporter.ts'],
    },
  }),
);
