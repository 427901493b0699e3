import {
  addCommand,
  type CommandContext,
  type CommonOptions,
  parseDurationArgument,
  withApplication,
} from './commands.js';
import { formatCount } from './format.js';
import type { Progress } from './output.js';

/** Adds the command `prune`, which deletes expired tokens. */
export function addPruneCommand({ program, output, interruption }: CommandContext): void {
  addCommand(program, 'prune', 'Deletes expired tokens.')
    .option(
      '--retention <duration>',
      "keeps tokens that expired less than this ago; by default the module's, or 7d",
      parseDurationArgument,
    )
    .action(async (options: CommonOptions & { retention?: number }) => {
      const signal = interruption.listen();
      await withApplication(options, async ({ tokens, options: { prune } }) => {
        const defaults = typeof prune === 'object' ? { retention: prune.retention, batch: prune.batch } : {};
        let bar: Progress | undefined;
        const deleted = await tokens
          .prune({
            ...defaults,
            ...(options.retention !== undefined && { retention: options.retention }),
            signal,
            onProgress: ({ deleted: deletedSoFar, examined, total }) => {
              bar ??= output.progress(total);
              bar.update(examined, `${deletedSoFar} deleted`);
            },
          })
          .finally(() => bar?.end());
        await output.result(options.json, { deleted, ...interruption.jsonMember }, [
          `${formatCount(deleted, 'expired token')} deleted${interruption.suffix}`,
        ]);
      });
    });
}

/** Adds the command `import`, which takes over tokens of another package. */
export function addImportCommand({ program, output, interruption }: CommandContext): void {
  addCommand(program, 'import <file.csv>', 'Imports valid tokens of another package from a CSV file with a header.')
    .addHelpText(
      'after',
      '\nColumns: userId, created, and key or digest; optionally lifespan, name, lastUsedAt, scopes or abilities.',
    )
    .action(async (path: string, options: CommonOptions) => {
      const { importFile } = await import('./import-file.js');
      const signal = interruption.listen();
      await withApplication(options, async ({ tokens, options: { imported: shapes = [] } }) => {
        const bar = output.progress(100);
        const showProgress = (read: number, share: number) => bar.update(Math.floor(share * 100), `${read} read`);
        const { imported, skipped } = await importFile(tokens, path, showProgress, signal).finally(() => bar.end());
        await output.result(options.json, { imported, skipped, ...interruption.jsonMember }, [
          `${formatCount(imported, 'token')} imported, ${skipped} skipped that ${skipped === 1 ? 'was' : 'were'} there already` +
            interruption.suffix,
        ]);
        if (shapes.length === 0) {
          output.note("They are rejected until the application's option imported accepts them: 'drf' or 'sanctum'.");
        }
      });
    });
}
