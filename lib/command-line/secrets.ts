import { isUtf8 } from 'node:buffer';
import { buffer } from 'node:stream/consumers';
import { isCancel, password, settings, text } from '@clack/prompts';
import { interruptedBy } from './exit-codes.js';

/** A person answered a question with Ctrl-C. */
export class Cancelled extends Error {
  readonly exitCode = interruptedBy('SIGINT');
}

// Or Ctrl-D would end the input, and the question wait for ever.
settings.aliases.set('\x04', 'cancel');

// Results alone are on stdout.
const PROMPT = { output: process.stderr, withGuide: false };

/** Asks on the terminal for a user name. */
export const askUsername = async (): Promise<string> => answer(await text({ ...PROMPT, message: 'User name' }));

/**
 * A new password: asked for twice on a terminal, read from standard input where that is none. Never an argument, which
 * every user of the machine can see and the shell remembers.
 */
export async function readPassword(): Promise<string> {
  if (!process.stdin.isTTY) return readInput();
  const first = answer(await password({ ...PROMPT, message: 'Password' }));
  const second = answer(await password({ ...PROMPT, message: 'Password again' }));
  if (first !== second) throw new Error('The passwords differ');
  return first;
}

/** The text of standard input, without the end of its line: exactly that, or the user could not log in with it. */
async function readInput(): Promise<string> {
  const input = await buffer(process.stdin);
  const given = input.toString();
  // Kept, a byte order mark would be part of a password that nobody can type. Dropped, the password would be another one
  // than a program sends that reads the same file.
  if (!isUtf8(input) || given.startsWith('\ufeff')) {
    throw new Error('The password on standard input must be UTF-8, and without a byte order mark');
  }
  return given.replace(/\r?\n$/, '');
}

function answer(given: string | symbol | undefined): string {
  if (isCancel(given)) throw new Cancelled('Cancelled');
  // What is left empty is undefined.
  return (given as string | undefined) ?? '';
}
