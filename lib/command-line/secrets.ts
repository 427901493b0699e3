import { isUtf8 } from 'node:buffer';
import { buffer } from 'node:stream/consumers';
import { isCancel, password, settings, text } from '@clack/prompts';
import { interruptedBy } from './exit-codes.js';

/** Thrown if a prompt is answered with Ctrl-C. */
export class Cancelled extends Error {
  readonly exitCode = interruptedBy('SIGINT');
}

// Without this alias Ctrl-D closes the input, and the prompt waits forever.
settings.aliases.set('\x04', 'cancel');

// Prompts go to stderr: stdout is for results only.
const PROMPT = { output: process.stderr, withGuide: false };

/** Prompts for a user name at the terminal. */
export const promptForUsername = async (): Promise<string> => answerOf(await text({ ...PROMPT, message: 'User name' }));

/**
 * Reads a new password: from two prompts at a terminal, otherwise from standard input. It is never an argument, because every
 * user of the machine can see arguments, and the shell keeps them in its history.
 */
export async function readPassword(): Promise<string> {
  if (!process.stdin.isTTY) return readInput();
  const first = answerOf(await password({ ...PROMPT, message: 'Password' }));
  const second = answerOf(await password({ ...PROMPT, message: 'Password again' }));
  if (first !== second) throw new Error('The passwords differ');
  return first;
}

/** Reads standard input without its final line end, and otherwise unchanged: the user will log in with exactly this text. */
async function readInput(): Promise<string> {
  const input = await buffer(process.stdin);
  const newPassword = input.toString();
  // A byte order mark is rejected: if it were kept, nobody could type the password; if it were removed, the password would
  // differ from the one that another program reads from the same file.
  if (!isUtf8(input) || newPassword.startsWith('\ufeff')) {
    throw new Error('The password on standard input must be UTF-8, and without a byte order mark');
  }
  return newPassword.replace(/\r?\n$/, '');
}

function answerOf(input: string | symbol | undefined): string {
  if (isCancel(input)) throw new Cancelled('Cancelled');
  // An empty answer is undefined.
  return (input as string | undefined) ?? '';
}
