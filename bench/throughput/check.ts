import type { LoggedInUser } from '../contestants/contestant.js';
import { Client } from '../load/client.js';
import type { RunningVariant } from './variants.js';

/** Number of responses to check before each round. wrk itself checks only the status. */
const SAMPLE_SIZE = 20;

const pickRandom = (logins: readonly LoggedInUser[]): LoggedInUser[] =>
  Array.from({ length: SAMPLE_SIZE }, () => logins[Math.floor(Math.random() * logins.length)]!);

/** Throws unless valid credentials return the right user, and an invalid credential is rejected. */
export async function checkResponses({ contestant, adapter, application }: RunningVariant): Promise<void> {
  const { valid, invalid } = application.logins;
  const client = new Client(application.origin, 1);
  try {
    for (const { credential, userId } of pickRandom(valid)) {
      const { status, body } = await client.me(credential);
      if (status !== 200 || body !== JSON.stringify({ id: userId })) {
        throw new Error(`${contestant} on ${adapter} responds to a valid credential with ${status} ${body}`);
      }
    }
    if (!invalid) return;
    const { status } = await client.me(invalid);
    if (status !== 401) throw new Error(`${contestant} on ${adapter} responds to an invalid credential with ${status}`);
  } finally {
    client.close();
  }
}
