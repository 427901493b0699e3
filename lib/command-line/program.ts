import { createRequire } from 'node:module';
import { Command, CommanderError } from 'commander';
import { describeError } from '../errors/describe-error.js';
import { FAILURE, SUCCESS, USAGE } from './exit-codes.js';
import { Interruption } from './interruption.js';
import { Output } from './output.js';
import { Cancelled } from './secrets.js';
import { addPersonalTokensCommand } from './personal-token.commands.js';
import { addImportCommand, addPruneCommand } from './token.commands.js';
import { addCreateUserCommand, addIssueCommand, addListCommand, addRevokeCommand } from './user.commands.js';

const { version } = createRequire(import.meta.url)('../../package.json') as { version?: string };

/** In the order of the help. */
const COMMANDS = [
  addPruneCommand,
  addListCommand,
  addRevokeCommand,
  addIssueCommand,
  addPersonalTokensCommand,
  addCreateUserCommand,
  addImportCommand,
];

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
        // The help was requested, and may not be written yet.
        if (error instanceof CommanderError && error.exitCode === 0) return output.write();
        throw error;
      });
    return interruption.exitCode ?? SUCCESS;
  } catch (error) {
    // commander has already printed the error.
    if (error instanceof CommanderError) return USAGE;
    output.note(`nestjs-expiring-token: ${describeError(error)}`);
    return error instanceof Cancelled ? error.exitCode : FAILURE;
  }
}

function createProgram(output: Output, interruption: Interruption): Command {
  const program = new Command('nestjs-expiring-token')
    .description('Manages the tokens of an application in its own database.')
    .version(version ?? 'unknown')
    .exitOverride()
    .showHelpAfterError('(use --help for a list of commands and options)')
    .addHelpText('after', '\nExit codes: 0 done, 1 failed, 2 wrong command line, 130 interrupted.');
  for (const addTo of COMMANDS) addTo({ program, output, interruption });
  return program;
}
