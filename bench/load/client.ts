import { Agent, request } from 'node:http';
import type { Credential } from '../contestants/contestant.js';

export interface Answer {
  status: number;
  body: string;
}

interface Options {
  method?: 'GET' | 'POST';
  path?: string;
  headers?: Record<string, string>;
  body?: unknown;
}

/** After 5 s without a request a server closes a connection, perhaps while the next one is on its way. */
const UNUSED_MS = 4000;

/** A client that keeps its connections to one application. */
export class Client {
  private readonly agent: Agent;

  constructor(
    private readonly origin: string,
    maxSockets = Infinity,
  ) {
    this.agent = new Agent({ keepAlive: true, maxSockets, timeout: UNUSED_MS });
  }

  me(credential: Credential): Promise<Answer> {
    return this.send({ headers: { [credential.name]: credential.value } });
  }

  send({ method = 'GET', path = '/me', headers = {}, body }: Options): Promise<Answer> {
    const { agent } = this;
    const json = body === undefined ? undefined : JSON.stringify(body);
    const all = json === undefined ? headers : { ...headers, 'Content-Type': 'application/json' };
    return new Promise((resolve, reject) => {
      const sent = request(new URL(path, this.origin), { method, headers: all, agent }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        response.on('end', () => resolve({ status: response.statusCode!, body: text })).on('error', reject);
      });
      sent.on('error', reject).end(json);
    });
  }

  close(): void {
    this.agent.destroy();
  }
}
