import { existsSync } from 'node:fs';

/** The entries of the package, as its `exports` have them. */
const ENTRIES = ['lib/index.ts', 'lib/testing/index.ts', 'lib/migrations/index.ts'];

/** @type {Partial<import('typedoc').TypeDocOptions>} */
export default {
  name: 'nestjs-expiring-token',
  entryPoints: ENTRIES.filter((entry) => existsSync(new URL(entry, import.meta.url))),
  tsconfig: 'tsconfig.build.json',
  out: '.docs-dist/api',
  readme: 'README.md',
  highlightLanguages: ['typescript', 'json', 'sh', 'http'],
  excludePrivate: true,
  excludeInternal: true,
  // What a class inherits from TypeORM is told by TypeORM.
  excludeExternals: true,
  // A table of which the type of the codes is made.
  intentionallyNotExported: ['ERRORS'],
  validation: { notExported: true, invalidLink: true, notDocumented: true },
  treatWarningsAsErrors: true,
  // There is nothing to link to in a copy without a remote, and a warning of it.
  disableSources: true,
};
