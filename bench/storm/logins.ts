import { Client } from '../load/client.js';
import { PASSWORD, usernameOf } from './credentials.js';

/**
 * The process of those who log in, all at once whenever it gets a message: in the process that measures, its connections
 * would hold up what is measured. It ends with the process that started it.
 */

/** Logs a user in who comes from an address of its own. */
async function logIn(client: Client, index: number): Promise<void> {
  const headers = { 'X-Forwarded-For': `10.0.${index >> 8}.${index & 255}` };
  const body = { username: usernameOf(index), password: PASSWORD };
  const answer = await client.send({ method: 'POST', path: '/auth/login', headers, body });
  if (answer.status !== 200) throw new Error(`a login was answered ${answer.status} ${answer.body}`);
}

async function storm(origin: string, count: number): Promise<void> {
  const client = new Client(origin);
  await Promise.all(Array.from({ length: count }, (_, index) => logIn(client, index))).finally(() => client.close());
}

const [, , origin, count] = process.argv;
process.on('message', () => {
  storm(origin!, Number(count)).then(
    () => process.send!(null),
    (error: unknown) => process.send!(String(error)),
  );
});
process.on('disconnect', () => process.exit());
