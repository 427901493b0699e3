import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: { alias: { 'nestjs-expiring-token': fileURLToPath(new URL('lib/index.ts', import.meta.url)) } },
  test: {
    include: ['test/**/*.spec.ts'],
    // Those that disturb servers start their own: `npm run test:faults`. Those in a browser: `npm run test:browser`.
    exclude: ['test/faults/**', 'test/browser/**'],
    globalSetup: ['test/fixtures/servers.ts'],
    setupFiles: ['test/fixtures/overhear-output.ts'],
    isolate: false,
    testTimeout: 20_000,
    hookTimeout: 60_000,
    reporters: ['default', './test/fixtures/count-reporter.ts'],
  },
});
