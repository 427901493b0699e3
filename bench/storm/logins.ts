import { Client } from '../load/client.js';
import { PASSWORD, usernameOf } from './credentials.js';

/**
 * Logs all users in simultaneously whenever it receives a message. This is a separate process, because the connections of the
 * logins would delay the requests that the measuring process times. It ends when the process that started it ends.
 */

/** Logs one user in, from an address that no other user has. */
async function logIn(client: Client, index: number): Promise<void> {
  const headers = { 'X-Forwarded-For': `10.0.${index >> 8}.${index & 255}` };
  const body = { username: usernameOf(index), password: PASSWORD };
  const response = await client.send({ method: 'POST', path: '/auth/login', headers, body });
  if (response.status !== 200) throw new Error(`a login got status ${response.status} ${response.body}`);
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
