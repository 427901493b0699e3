import { createRequire } from 'node:module';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { parseDuration } from '../options/duration.js';
import { describeError } from '../errors/describe-error.js';
import type { Device } from '../tokens/device.js';
import { isActiveUser } from '../users/user-store.js';
import type { Application } from './application.js';
import { FAILURE, interruptedBy, SUCCESS, USAGE } from './exit-codes.js';
import { findUser, USER_KEYS, type UserKey } from './find-user.js';
import { Output, type Progress } from './output.js';
import { askUsername, Cancelled, readPassword } from './secrets.js';

const { version } = createRequire(import.meta.url)('../../package.json') as { version?: string };

/** The options of every command. */
interface CommonOptions {
  dataSource: string;
  json?: true;
}

/** How a command says which user it means. */
interface UserOptions extends CommonOptions {
  by?: UserKey;
}

/**
 * Runs the program.
 *
 * @param argv - as `process.argv`
 * @returns its exit code
 */
export async function run(argv: readonly string[]): Promise<number> {
  const output = new Output();
  const interruption = new Interruption();
  try {
    await createProgram(output, interruption)
      .parseAsync(argv)
      .catch((error: unknown) => {
        // Help was asked for, and may still be on its way.
        if (error instanceof CommanderError && error.exitCode === 0) return output.written();
        throw error;
      });
    return interruption.exitCode ?? SUCCESS;
  } catch (error) {
    // It has said what is wrong itself.
    if (error instanceof CommanderError) return USAGE;
    output.note(`nestjs-expiring-token: ${describeError(error)}`);
    return error instanceof Cancelled ? error.exitCode : FAILURE;
  }
}

/** What long commands end early for. The second signal ends the process. */
class Interruption {
  private readonly controller = new AbortController();
  /** Undefined unless it happened. */
  exitCode: number | undefined;

  /** Aborted by the first SIGINT or SIGTERM from now on. */
  listen(): AbortSignal {
    for (const name of ['SIGINT', 'SIGTERM'] as const) {
      process.once(name, () => {
        this.exitCode = interruptedBy(name);
        this.controller.abort();
      });
    }
    return this.controller.signal;
  }

  /** What a result says of it. */
  get mark(): { interrupted?: true } {
    return this.exitCode === undefined ? {} : { interrupted: true };
  }
}

function createProgram(output: Output, interruption: Interruption): Command {
  const program = new Command('nestjs-expiring-token')
    .description('Manages the tokens of an application in its own database.')
    .version(version ?? 'unknown')
    .exitOverride()
    .showHelpAfterError('(--help tells what there is)')
    .addHelpText('after', '\nExit codes: 0 done, 1 failed, 2 wrong command line, 130 interrupted.');

  const command = (usage: string, description: string) =>
    program
      .command(usage)
      .description(description)
      .requiredOption(
        '-d, --data-source <path>',
        'file that exports the DataSource, as for the command line of TypeORM',
      )
      .option('--json', 'one JSON document on stdout');
  const userCommand = (usage: string, description: string) =>
    command(usage, description)
      .addHelpText('after', '\n<user> is an id or a user name; --by says which where it is both.')
      .addOption(new Option('--by <key>', 'what <user> is').choices(USER_KEYS));

  command('prune', 'Deletes expired tokens.')
    .option('--retention <duration>', 'spares those that expired less than this ago, by default 7d', duration)
    .action(async (options: CommonOptions & { retention?: number }) => {
      const signal = interruption.listen();
      await withApplication(options, async ({ tokens, options: { prune } }) => {
        const usual = prune ? { retention: prune.retention, batch: prune.batch } : {};
        let bar: Progress | undefined;
        const deleted = await tokens
          .prune({
            ...usual,
            ...(options.retention !== undefined && { retention: options.retention }),
            signal,
            onProgress: ({ deleted: soFar, examined, total }) => {
              bar ??= output.progress(total);
              bar.update(examined, `${soFar} deleted`);
            },
          })
          .finally(() => bar?.end());
        await output.result(options.json, { deleted, ...interruption.mark }, [
          `${count(deleted, 'expired token')} deleted${interruption.exitCode ? ', then interrupted' : ''}`,
        ]);
      });
    });

  userCommand('list <user>', 'Lists the live devices of a user, newest first.').action(
    async (given: string, options: UserOptions) => {
      await withApplication(options, async ({ tokens, users }) => {
        const devices = await tokens.list(users.getId(await findUser(users, given, options.by)));
        await output.result(options.json, devices, devices.length > 0 ? table(devices) : ['No live devices']);
      });
    },
  );

  userCommand('revoke <user> [id]', 'Ends a device of a user, or all of them.').action(
    async (given: string, id: string | undefined, options: UserOptions) => {
      await withApplication(options, async ({ tokens, users }) => {
        const userId = users.getId(await findUser(users, given, options.by));
        const revoked = id === undefined ? await tokens.revokeAll(userId) : Number(await tokens.revoke(userId, id));
        if (id !== undefined && revoked === 0) throw new Error(`${given} has no live device ${id}`);
        await output.result(options.json, { revoked }, [`${count(revoked, 'device')} revoked`]);
      });
    },
  );

  userCommand('issue <user>', 'Issues a token to a new device of a user, and prints it on stdout alone.')
    .option('--lifespan <duration>', "such as 7d, or never; by default the module's", durationOrNever)
    .option('--name <name>', 'name of the device')
    .action(async (given: string, options: UserOptions & { lifespan?: number | 'never'; name?: string }) => {
      await withApplication(options, async ({ tokens, users }) => {
        const user = await findUser(users, given, options.by);
        const { plainText, token } = await tokens.issue(users.getId(user), {
          lifespan: options.lifespan === 'never' ? null : options.lifespan,
          name: options.name,
        });
        const { deviceId } = token;
        const expiresAt = tokens.expiryOf(token);
        await output.result(options.json, { token: plainText, deviceId, expiresAt }, [plainText]).catch((error) => {
          throw new Error(`${describeError(error)}. The token is lost: revoke ${given} ${deviceId}`, { cause: error });
        });
        const end = expiresAt === null ? 'never expires' : `expires ${timeOf(expiresAt)}`;
        output.note(`Device ${deviceId}, ${end}. The token is not shown again.`);
        if (!isActiveUser(users, user)) output.note(`${given} is inactive: the token is refused until that changes.`);
      });
    });

  command('create-user [username]', 'Creates a user. The password is asked for, or read from standard input.')
    .option('--no-password', 'for a user who cannot log in, and is issued tokens')
    .action(async (given: string | undefined, options: CommonOptions & { password: boolean }, self: Command) => {
      if (given === undefined && !process.stdin.isTTY) self.error("error: missing argument 'username'");
      await withApplication(options, async ({ userService }) => {
        if (!userService) throw new Error('The users are in a store of the application, which creates them itself');
        const name = given ?? (await askUsername());
        const { id, username } = await userService.create(name, options.password ? await readPassword() : null);
        await output.result(options.json, { id, username }, [`User ${username} created: ${id}`]);
      });
    });

  command('import <file.csv>', 'Imports live tokens of another package from a CSV file with a header.')
    .addHelpText('after', '\nColumns: userId, key or digest, created; and lifespan, name, lastUsedAt where there are.')
    .action(async (path: string, options: CommonOptions) => {
      const { importFile } = await import('./import-file.js');
      const signal = interruption.listen();
      await withApplication(options, async ({ tokens, options: { imported: shapes = [] } }) => {
        const bar = output.progress(100);
        const tell = (read: number, share: number) => bar.update(Math.floor(share * 100), `${read} read`);
        const { imported, skipped } = await importFile(tokens, path, tell, signal).finally(() => bar.end());
        await output.result(options.json, { imported, skipped, ...interruption.mark }, [
          `${count(imported, 'token')} imported, ${skipped} skipped that ${skipped === 1 ? 'was' : 'were'} there already` +
            (interruption.exitCode ? ', then interrupted' : ''),
        ]);
        if (shapes.length === 0) {
          output.note("They are refused until the application's option imported admits them: 'drf' or 'sanctum'.");
        }
      });
    });

  return program;
}

/** Loads Nest and TypeORM only for a command that needs them: help is there at once. */
async function withApplication(
  { dataSource }: CommonOptions,
  work: (application: Application) => Promise<void>,
): Promise<void> {
  const { withApplication: open } = await import('./application.js');
  await open(dataSource, work);
}

function duration(text: string): number {
  try {
    return parseDuration('', text);
  } catch {
    throw new InvalidArgumentError('Give a number with a unit, such as 15m or 30d.');
  }
}

// commander takes null for no value.
const durationOrNever = (text: string): number | 'never' => (text === 'never' ? text : duration(text));

const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? '' : 's'}`;

/** In UTC, to the second. */
const timeOf = (date: Date | null, none = 'never'): string =>
  date ? `${date.toISOString().slice(0, 19).replace('T', ' ')}Z` : none;

/** The devices in columns. */
function table(devices: readonly Device[]): string[] {
  const rows = [
    ['DEVICE', 'CREATED', 'LAST USED', 'EXPIRES', 'NAME'],
    ...devices.map(({ id, name, createdAt, lastUsedAt, expiresAt }) => [
      id,
      timeOf(createdAt),
      timeOf(lastUsedAt, '-'),
      timeOf(expiresAt),
      name ?? '-',
    ]),
  ];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd(),
  );
}
