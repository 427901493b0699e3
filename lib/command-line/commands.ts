import { type Command, InvalidArgumentError, Option } from 'commander';
import { parseDuration } from '../options/duration.js';
import type { Application } from './application.js';
import { USER_KEYS, type UserKey } from './find-user.js';
import type { Interruption } from './interruption.js';
import type { Output } from './output.js';

/** Options of every command. */
export interface CommonOptions {
  dataSource: string;
  json?: true;
}

/** Options of a command for one user. */
export interface UserOptions extends CommonOptions {
  by?: UserKey;
}

/** What all commands share. */
export interface CommandContext {
  readonly program: Command;
  readonly output: Output;
  readonly interruption: Interruption;
}

/** Adds a command with the common options. */
export function addCommand(program: Command, usage: string, description: string): Command {
  return program
    .command(usage)
    .description(description)
    .requiredOption('-d, --data-source <path>', 'file that exports the DataSource, as for the command line of TypeORM')
    .option('--json', 'prints one JSON document to stdout');
}

/** Adds a command for one user. */
export function addUserCommand(program: Command, usage: string, description: string): Command {
  return addCommand(program, usage, description)
    .addHelpText(
      'after',
      '\n<user> is an id or a user name. Use --by if it is the id of one user and the name of another.',
    )
    .addOption(new Option('--by <key>', 'whether <user> is an id or a user name').choices(USER_KEYS));
}

/** Opens the application. Nest and TypeORM are loaded only here, so that the help appears without delay. */
export async function withApplication(
  { dataSource }: CommonOptions,
  work: (application: Application) => Promise<void>,
): Promise<void> {
  const { withApplication: open } = await import('./application.js');
  await open(dataSource, work);
}

/** Parses an argument that is a duration. */
export function parseDurationArgument(text: string): number {
  try {
    return parseDuration('', text);
  } catch {
    throw new InvalidArgumentError('Give a number with a unit, such as 15m or 30d.');
  }
}

/** Parses an argument that is a lifespan. commander treats null as no value, so `never` stays a word. */
export const parseLifespanArgument = (text: string): number | 'never' =>
  text === 'never' ? text : parseDurationArgument(text);

/** Adds the argument of a repeated option to those before it. */
export const appendScope = (scope: string, scopes: string[] = []): string[] => [...scopes, scope];
