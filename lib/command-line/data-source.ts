import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type DataSource, InstanceChecker } from 'typeorm';
import type { Duration } from '../options/duration.js';
import type { ExpiringTokenModuleOptions } from '../expiring-token.module-options.js';
import { describeError } from '../errors/describe-error.js';

const require = createRequire(import.meta.url);

/** What the file of a data source exports. */
export interface DataSourceFile {
  dataSource: DataSource;
  /** The export `expiringToken`: what the application gives to `ExpiringTokenModule.forRoot`. */
  options: ExpiringTokenModuleOptions;
}

/**
 * What to do if node cannot read the file. No TypeScript loader is recommended: those that strip types (tsx, node itself)
 * emit no decorator metadata, from which TypeORM reads the type of a column.
 */
const REMEDIES: Record<string, string> = {
  ERR_UNKNOWN_FILE_EXTENSION: 'Give the compiled file, for example dist/data-source.js',
};

/**
 * Loads a file as TypeORM's own command line takes it: it exports one data source, or a promise of one. The default export
 * may also be a function that returns either.
 *
 * @param path - of an ES or a CommonJS module, from the working directory
 */
export async function loadDataSource(path: string): Promise<DataSourceFile> {
  const exported = await exportsOf(path);
  const sources = new Set<DataSource>();
  for (const [name, value] of exported) {
    const isFactory = name === 'default' && typeof value === 'function';
    const awaited: unknown = await (isFactory ? (value as () => unknown)() : value);
    if (InstanceChecker.isDataSource(awaited)) sources.add(awaited);
  }
  const [dataSource, ...others] = sources;
  if (!dataSource) throw new Error(`${path} must export a DataSource, or a promise of one`);
  if (others.length > 0) throw new Error(`${path} must export one DataSource, and exports ${sources.size}`);
  const given = (await new Map(exported).get('expiringToken')) as Duration | ExpiringTokenModuleOptions | undefined;
  return { dataSource, options: typeof given === 'object' ? given : given === undefined ? {} : { lifespan: given } };
}

/** The exports of a module, those of a CommonJS one that node does not see by itself among them. */
async function exportsOf(path: string): Promise<[name: string, value: unknown][]> {
  const file = fileOf(path);
  let module: Record<string, unknown>;
  try {
    module = (await import(pathToFileURL(file).href)) as Record<string, unknown>;
  } catch (error) {
    const remedy = REMEDIES[(error as { code?: string }).code ?? ''];
    throw new Error([`Cannot load ${path}: ${describeError(error)}`, remedy].filter(Boolean).join('. '), {
      cause: error,
    });
  }
  const isObject = typeof module.default === 'object' && module.default !== null;
  const isModule = isObject && !InstanceChecker.isDataSource(module.default) && !(module.default instanceof Promise);
  return Object.entries({ ...module, ...(isModule ? (module.default as object) : {}) });
}

/** The file at a path, which may also be a URL or leave out `.js`. */
function fileOf(path: string): string {
  try {
    return require.resolve(resolve(path.startsWith('file:') ? fileURLToPath(path) : path));
  } catch (error) {
    throw new Error(`There is no file ${path}`, { cause: error });
  }
}
