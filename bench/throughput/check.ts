import type { LoggedIn } from '../contestants/contestant.js';
import { Client } from '../load/client.js';
import type { Runner } from './lineup.js';

/** Looked at before each round: wrk looks at the status alone. */
const SAMPLE_SIZE = 20;

const some = (logins: readonly LoggedIn[]): LoggedIn[] =>
  Array.from({ length: SAMPLE_SIZE }, () => logins[Math.floor(Math.random() * logins.length)]!);

/** Throws unless the right user is named for a right credential, and a wrong one is refused. */
export async function checkAnswers({ contestant, adapter, application }: Runner): Promise<void> {
  const { right, wrong } = application.logins;
  const client = new Client(application.origin, 1);
  try {
    for (const { credential, userId } of some(right)) {
      const { status, body } = await client.me(credential);
      if (status !== 200 || body !== JSON.stringify({ id: userId })) {
        throw new Error(`${contestant} on ${adapter} answers a right credential ${status} ${body}`);
      }
    }
    if (!wrong) return;
    const { status } = await client.me(wrong);
    if (status !== 401) throw new Error(`${contestant} on ${adapter} answers a wrong credential ${status}`);
  } finally {
    client.close();
  }
}
