import { existsSync } from 'node:fs';

/** The entries of the package, as its `exports` have them. */
const ENTRIES = ['lib/index.ts', 'lib/testing/index.ts', 'lib/migrations/entry/index.ts'];

/** @type {Partial<import('typedoc').TypeDocOptions>} */
export default {
  name: 'nestjs-expiring-token',
  entryPoints: ENTRIES.filter((entry) => existsSync(new URL(entry, import.meta.url))),
  tsconfig: 'tsconfig.build.json',
  out: '.docs-dist/api',
  readme: 'README.md',
  highlightLanguages: ['typescript', 'json', 'sh', 'http', 'console'],
  excludePrivate: true,
  excludeInternal: true,
  // TypeORM documents what a class inherits from it.
  excludeExternals: true,
  // The types of the error codes and of the routes are derived from these tables. A pipe is a class or an object of Nest.
  intentionallyNotExported: ['ERRORS', 'ROUTES', 'Pipe'],
  validation: { notExported: true, invalidLink: true, notDocumented: true },
  treatWarningsAsErrors: true,
  // A copy without a remote has nothing to link to, and TypeDoc warns of it.
  disableSources: true,
};
