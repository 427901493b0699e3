import { defineConfig } from 'vitest/config';
import config from './vitest.config.js';

export default defineConfig({
  resolve: config.resolve,
  test: {
    include: ['test/browser/**/*.spec.ts'],
    globalSetup: ['test/browser/build.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    reporters: ['default', './test/fixtures/count-reporter.ts'],
  },
});
