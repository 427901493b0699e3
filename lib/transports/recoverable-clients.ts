import { MAX_TIMER_MS } from '../async/with-timeout.js';
import type { SocketIoClient } from './connection.js';

/**
 * The clients of Socket.IO that were let in, for as long as its option `connectionStateRecovery` may give them their rooms
 * back: it does so before anybody asks for a token.
 */
export class RecoverableClients {
  /** By their id; with the timer that forgets them, of those that lost their connection. */
  private readonly ids = new Map<string, NodeJS.Timeout | undefined>();
  private readonly namespaces = new WeakSet<object>();

  /** @param onRecovered - is told of each that was restored */
  constructor(private readonly onRecovered: (client: object) => void) {}

  remember(client: SocketIoClient): void {
    const { id, nsp } = client;
    const recovery = nsp.server.opts?.connectionStateRecovery;
    const timer = this.ids.get(id);
    if (!recovery || (this.ids.has(id) && !timer)) return;
    clearTimeout(timer);
    this.ids.set(id, undefined);
    const keptMs = Math.min(recovery.maxDisconnectionDuration ?? MAX_TIMER_MS, MAX_TIMER_MS);
    const forgetLater = () => this.ids.set(id, setTimeout(() => this.ids.delete(id), keptMs).unref());
    // It may have lost its connection while it was let in.
    if (client.connected) client.once('disconnect', forgetLater);
    else forgetLater();
    if (this.namespaces.has(nsp)) return;
    this.namespaces.add(nsp);
    nsp.on('connection', (other) => {
      if (other.recovered && this.ids.has(other.id)) this.onRecovered(other);
    });
  }
}
