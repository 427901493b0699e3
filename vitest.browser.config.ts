import { defineConfig } from 'vitest/config';
import config from './vitest.config.js';

export default defineConfig({
  resolve: config.resolve,
  test: {
    include: ['test/browser/**/*.spec.ts'],
    globalSetup: ['test/browser/build.ts'],
    // Pictures wait for the right moment.
    testTimeout: process.env.SCREENSHOTS ? 90_000 : 30_000,
    hookTimeout: 60_000,
    reporters: ['default', './test/fixtures/count-reporter.ts'],
  },
});
