import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: { alias: { 'nestjs-expiring-token': fileURLToPath(new URL('lib/index.ts', import.meta.url)) } },
  test: {
    include: ['test/**/*.spec.ts'],
    // Those that disturb servers start their own: `npm run test:faults`.
    exclude: ['test/faults/**'],
    globalSetup: ['test/fixtures/servers.ts'],
    setupFiles: ['test/fixtures/overhear-output.ts'],
    isolate: false,
    // A worker waits for a database half of its time: on two processors one alone, the default, would leave the other idle.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    testTimeout: 20_000,
    hookTimeout: 60_000,
    reporters: ['default', './test/fixtures/count-reporter.ts'],
  },
});
