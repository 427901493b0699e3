import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** What all projects of the tests have in common, here and in the other files vitest.*.config.ts. */
export const shared = {
  resolve: {
    // The first match is used.
    alias: {
      'nestjs-expiring-token/testing': source('lib/testing/index.ts'),
      'nestjs-expiring-token/migrations': source('lib/migrations/entry/index.ts'),
      'nestjs-expiring-token': source('lib/index.ts'),
    },
  },
  test: {
    setupFiles: ['test/fixtures/capture-output.ts'],
    isolate: false,
    // A worker waits for a database half of its time. On two processors the default, one worker, would leave one idle.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    // Time limits end a test that hangs. They are far above what a busy machine needs.
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
};

/** The specs of each project but `app`, which has all the others: they boot applications in the process of the tests. */
export const SPECS = {
  /** Functions and classes on their own. */
  unit: [
    'captured-output',
    'client-network',
    'deadline',
    'driver-errors',
    'fair-queue',
    'load-model',
    'token-cache',
    'token-changes',
    'token-lifetime',
    'token-purpose',
    'token-queries',
    'token-secret',
    'turn-queue',
  ],
  /** They start other processes, or measure time. */
  processes: [
    'background',
    'cluster-example',
    'command-line',
    'growth',
    'optional-packages',
    'races',
    'supply-chain',
    'timing',
  ],
  /** What the repository says about the package: documents, manifest, sample application. */
  docs: [
    'architecture',
    'charts',
    'documents',
    'language',
    'manifest',
    'projects',
    'reliability',
    'repository',
    'sample-app',
  ],
};

const pathsOf = (names: readonly string[]) => names.map((name) => `test/${name}.spec.ts`);

const include: Record<string, string[]> = {
  unit: pathsOf(SPECS.unit),
  app: ['test/**/*.spec.ts'],
  processes: pathsOf(SPECS.processes),
  docs: pathsOf(SPECS.docs),
};

// `npm run test:faults`, `test:clusters` and `test:browser` run the specs in these folders.
const exclude = ['test/faults/**', 'test/clusters/**', 'test/browser/**', ...Object.values(SPECS).flatMap(pathsOf)];

export default defineConfig({
  test: {
    globalSetup: ['test/fixtures/servers.ts'],
    reporters: ['default', './test/fixtures/count-reporter.ts'],
    projects: Object.entries(include).map(([name, files], groupOrder) => ({
      ...shared,
      test: {
        ...shared.test,
        name,
        include: files,
        exclude: name === 'app' ? exclude : [],
        // One project after the other, since a worker runs the specs of one project.
        sequence: { groupOrder },
      },
    })),
  },
});
