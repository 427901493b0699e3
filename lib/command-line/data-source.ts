import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type DataSource, InstanceChecker } from 'typeorm';
import type { Duration } from '../options/duration.js';
import type { ExpiringTokenModuleOptions } from '../expiring-token.module-options.js';
import { describeError } from '../errors/describe-error.js';

const require = createRequire(import.meta.url);

/** The exports of a data source file. */
export interface DataSourceFile {
  dataSource: DataSource;
  /** The export `expiringToken`: the options that the application passes to `ExpiringTokenModule.forRoot`. */
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
 * Loads a data source file, in the format of TypeORM's own command line: it exports one data source, or a promise of one. The
 * default export may also be a function that returns either.
 *
 * @param path - path of an ES or CommonJS module, relative to the working directory
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
  const exportedOptions = (await new Map(exported).get('expiringToken')) as
    Duration | ExpiringTokenModuleOptions | undefined;
  return { dataSource, options: toOptions(exportedOptions) };
}

/** Options as `forRoot` takes them: an object, a lifespan, or nothing. */
function toOptions(value: Duration | ExpiringTokenModuleOptions | undefined): ExpiringTokenModuleOptions {
  if (value === undefined) return {};
  return typeof value === 'object' ? value : { lifespan: value };
}

/** Returns the exports of a module, including those of a CommonJS module that node does not detect. */
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

/** Resolves a path, which may be a file URL, and may omit `.js`. */
function fileOf(path: string): string {
  try {
    return require.resolve(resolve(path.startsWith('file:') ? fileURLToPath(path) : path));
  } catch (error) {
    throw new Error(`There is no file ${path}`, { cause: error });
  }
}
