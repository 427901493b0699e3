import { Agent, request } from 'node:http';
import type { Credential } from '../contestants/contestant.js';

export interface HttpResponse {
  status: number;
  body: string;
}

interface Options {
  method?: 'GET' | 'POST';
  path?: string;
  headers?: Record<string, string>;
  body?: unknown;
}

/**
 * The client closes an idle connection first. The server closes it after 5 s, possibly while the next request is being sent,
 * which would fail.
 */
const IDLE_TIMEOUT_MS = 4000;

/** An HTTP client that keeps its connections to one application open. */
export class Client {
  private readonly agent: Agent;

  constructor(
    private readonly origin: string,
    maxSockets = Infinity,
  ) {
    this.agent = new Agent({ keepAlive: true, maxSockets, timeout: IDLE_TIMEOUT_MS });
  }

  me(credential: Credential): Promise<HttpResponse> {
    return this.send({ headers: { [credential.name]: credential.value } });
  }

  send({ method = 'GET', path = '/me', headers = {}, body }: Options): Promise<HttpResponse> {
    const { agent } = this;
    const json = body === undefined ? undefined : JSON.stringify(body);
    const allHeaders = json === undefined ? headers : { ...headers, 'Content-Type': 'application/json' };
    return new Promise((resolve, reject) => {
      const sent = request(new URL(path, this.origin), { method, headers: allHeaders, agent }, (response) => {
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
