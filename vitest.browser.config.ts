import { defineConfig } from 'vitest/config';
import config from './vitest.config.js';

export default defineConfig({
  resolve: config.resolve,
  test: {
    include: ['test/browser/**/*.spec.ts'],
    globalSetup: ['test/browser/build.ts'],
    // On a busy machine; pictures wait for the right moment, too.
    testTimeout: 90_000,
    hookTimeout: 60_000,
    reporters: ['default', './test/fixtures/count-reporter.ts'],
  },
});
