import type { Command } from 'commander';
import { describeError } from '../errors/describe-error.js';
import type { IssuedToken } from '../tokens/token.interfaces.js';
import { isActiveUser } from '../users/user-store.js';
import type { Application } from './application.js';
import {
  addUserCommand,
  appendScope,
  type CommandContext,
  parseDurationArgument,
  parseLifespanArgument,
  type UserOptions,
  withApplication,
} from './commands.js';
import { findUser } from './find-user.js';
import { formatPersonalTokens, formatTime } from './format.js';
import type { Output } from './output.js';

interface CreateOptions extends UserOptions {
  name: string;
  scope?: string[];
  lifespan?: number | 'never';
}

/** Adds the command `tokens` with its subcommands, which manage the personal tokens of a user. */
export function addPersonalTokensCommand(context: CommandContext): void {
  const group = context.program
    .command('tokens')
    .description("Manages a user's personal access tokens, for scripts and machines.");
  addCreateCommand(group, context);
  addListCommand(group, context);
  addRotateCommand(group, context);
  addRevokeCommand(group, context);
}

function addCreateCommand(group: Command, { output }: CommandContext): void {
  addUserCommand(group, 'create <user>', 'Makes a personal token, and prints only the token to stdout.')
    .requiredOption('--name <name>', 'name of the token')
    .option('--scope <scope>', 'what the token may do; repeat it for more scopes; by default everything', appendScope)
    .option(
      '--lifespan <duration>',
      "such as 30d, or never if longest is null; by default the module's",
      parseLifespanArgument,
    )
    .action(async (idOrName: string, { name, scope, lifespan, ...options }: CreateOptions) => {
      await withApplication(options, async (application) => {
        const user = await findUser(application.users, idOrName, options.by);
        const issued = await application.personalTokens.issue(application.users.getId(user), {
          name,
          scopes: scope ?? null,
          ...(lifespan !== undefined && { lifespan: lifespan === 'never' ? null : lifespan }),
        });
        await printSecret(output, application, issued, { idOrName, user, json: options.json });
      });
    });
}

function addListCommand(group: Command, { output }: CommandContext): void {
  addUserCommand(group, 'list <user>', 'Lists the valid personal tokens of a user, newest first.').action(
    async (idOrName: string, options: UserOptions) => {
      await withApplication(options, async ({ personalTokens, users }) => {
        const tokens = await personalTokens.list(users.getId(await findUser(users, idOrName, options.by)));
        const lines = tokens.length > 0 ? formatPersonalTokens(tokens) : ['No personal tokens'];
        await output.result(options.json, tokens, lines);
      });
    },
  );
}

function addRotateCommand(group: Command, { output }: CommandContext): void {
  addUserCommand(group, 'rotate <user> <id>', 'Gives a personal token another secret, and prints only that to stdout.')
    .option(
      '--overlap <duration>',
      'how long the earlier secret stays valid, such as 1h; by default not at all',
      parseDurationArgument,
    )
    .action(async (idOrName: string, id: string, options: UserOptions & { overlap?: number }) => {
      await withApplication(options, async (application) => {
        const user = await findUser(application.users, idOrName, options.by);
        const userId = application.users.getId(user);
        const issued = await application.personalTokens.rotate(userId, id, { overlap: options.overlap ?? 0 });
        await printSecret(output, application, issued, { idOrName, user, json: options.json });
      });
    });
}

function addRevokeCommand(group: Command, { output }: CommandContext): void {
  addUserCommand(group, 'revoke <user> <id>', 'Revokes a personal token of a user.').action(
    async (idOrName: string, id: string, options: UserOptions) => {
      await withApplication(options, async ({ personalTokens, users }) => {
        const userId = users.getId(await findUser(users, idOrName, options.by));
        const isRevoked = await personalTokens.revoke(userId, id);
        if (!isRevoked) throw new Error(`${idOrName} has no valid personal token ${id}`);
        await output.result(options.json, { revoked: 1 }, ['1 personal token revoked']);
      });
    },
  );
}

/** Prints a secret to stdout, and everything else to stderr. */
async function printSecret(
  output: Output,
  { tokens, users }: Application,
  { plainText, token }: IssuedToken,
  { idOrName, user, json }: { idOrName: string; user: unknown; json: true | undefined },
): Promise<void> {
  const { deviceId: id } = token;
  const expiresAt = tokens.expiryOf(token);
  await output.result(json, { token: plainText, id, expiresAt }, [plainText]).catch((error) => {
    const remedy = `The token was not printed. Revoke it: npx nestjs-expiring-token tokens revoke ${idOrName} ${id}`;
    throw new Error(`${describeError(error)}. ${remedy}`, { cause: error });
  });
  const expiry = expiresAt === null ? 'never expires' : `expires ${formatTime(expiresAt)}`;
  output.note(`Personal token ${id}, ${expiry}. It is not shown again.`);
  if (!isActiveUser(users, user))
    output.note(`${idOrName} is inactive: the token is rejected until the user is active.`);
}
