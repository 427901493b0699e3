import type { Command } from 'commander';
import { describeError } from '../errors/describe-error.js';
import { isActiveUser } from '../users/user-store.js';
import {
  addCommand,
  addUserCommand,
  appendScope,
  type CommandContext,
  type CommonOptions,
  parseLifespanArgument,
  type UserOptions,
  withApplication,
} from './commands.js';
import { findUser } from './find-user.js';
import { formatCount, formatDevices, formatTime } from './format.js';
import { promptForUsername, readPassword } from './secrets.js';

interface IssueCommandOptions extends UserOptions {
  lifespan?: number | 'never';
  name?: string;
  scope?: string[];
}

/** Adds the command `list`, which shows the devices of a user. */
export function addListCommand({ program, output }: CommandContext): void {
  addUserCommand(program, 'list <user>', 'Lists the active devices of a user, newest first.').action(
    async (idOrName: string, options: UserOptions) => {
      await withApplication(options, async ({ tokens, users }) => {
        const devices = await tokens.list(users.getId(await findUser(users, idOrName, options.by)));
        const lines = devices.length > 0 ? formatDevices(devices) : ['No active devices'];
        await output.result(options.json, devices, lines);
      });
    },
  );
}

/** Adds the command `revoke`, which revokes one device of a user, or all of them. */
export function addRevokeCommand({ program, output }: CommandContext): void {
  addUserCommand(program, 'revoke <user> [id]', 'Revokes a device of a user, or all of them.').action(
    async (idOrName: string, deviceId: string | undefined, options: UserOptions) => {
      await withApplication(options, async ({ tokens, users }) => {
        const userId = users.getId(await findUser(users, idOrName, options.by));
        const revoked =
          deviceId === undefined ? await tokens.revokeAll(userId) : Number(await tokens.revoke(userId, deviceId));
        if (deviceId !== undefined && revoked === 0) throw new Error(`${idOrName} has no active device ${deviceId}`);
        await output.result(options.json, { revoked }, [`${formatCount(revoked, 'device')} revoked`]);
      });
    },
  );
}

/** Adds the command `issue`, which issues a token for a user. */
export function addIssueCommand({ program, output }: CommandContext): void {
  addUserCommand(
    program,
    'issue <user>',
    'Issues a token for a new device of a user, and prints only the token to stdout.',
  )
    .option('--lifespan <duration>', "such as 7d, or never; by default the module's", parseLifespanArgument)
    .option('--name <name>', 'name of the device')
    .option('--scope <scope>', 'what the token may do; repeat it for more scopes; by default everything', appendScope)
    .action(async (idOrName: string, options: IssueCommandOptions) => {
      await withApplication(options, async ({ tokens, users }) => {
        const user = await findUser(users, idOrName, options.by);
        const { plainText, token } = await tokens.issue(users.getId(user), {
          lifespan: options.lifespan === 'never' ? null : options.lifespan,
          name: options.name,
          scopes: options.scope,
        });
        const { deviceId } = token;
        const expiresAt = tokens.expiryOf(token);
        await output.result(options.json, { token: plainText, deviceId, expiresAt }, [plainText]).catch((error) => {
          const remedy = `The token is lost: revoke ${idOrName} ${deviceId}`;
          throw new Error(`${describeError(error)}. ${remedy}`, { cause: error });
        });
        const expiry = expiresAt === null ? 'never expires' : `expires ${formatTime(expiresAt)}`;
        output.note(`Device ${deviceId}, ${expiry}. The token is not shown again.`);
        if (!isActiveUser(users, user)) {
          output.note(`${idOrName} is inactive: the token is rejected until the user is active.`);
        }
      });
    });
}

/** Adds the command `create-user`, which creates a user of the built-in store. */
export function addCreateUserCommand({ program, output }: CommandContext): void {
  const description =
    'Creates a user. The password is read from a prompt at a terminal, otherwise from standard input.';
  addCommand(program, 'create-user [username]', description)
    .option('--no-password', 'for a user who cannot log in, and is issued tokens')
    .action(async (name: string | undefined, options: CommonOptions & { password: boolean }, self: Command) => {
      if (name === undefined && !process.stdin.isTTY) self.error("error: missing argument 'username'");
      await withApplication(options, async ({ userService }) => {
        if (!userService) throw new Error('The users are in a store of the application, which creates them itself');
        const newName = name ?? (await promptForUsername());
        const { id, username } = await userService.create(newName, options.password ? await readPassword() : null);
        await output.result(options.json, { id, username }, [`User ${username} created: ${id}`]);
      });
    });
}
