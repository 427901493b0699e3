import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  resolve: {
    // The first that fits is taken.
    alias: {
      'nestjs-expiring-token/testing': source('lib/testing/index.ts'),
      'nestjs-expiring-token/migrations': source('lib/migrations/index.ts'),
      'nestjs-expiring-token': source('lib/index.ts'),
    },
  },
  test: {
    include: ['test/**/*.spec.ts'],
    // Those that disturb servers start their own: `npm run test:faults`. Those in a browser: `npm run test:browser`.
    exclude: ['test/faults/**', 'test/browser/**'],
    globalSetup: ['test/fixtures/servers.ts'],
    setupFiles: ['test/fixtures/capture-output.ts'],
    isolate: false,
    // A worker waits for a database half of its time: on two processors one alone, the default, would leave the other idle.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    testTimeout: 20_000,
    hookTimeout: 60_000,
    reporters: ['default', './test/fixtures/count-reporter.ts'],
  },
});
