import { MAX_TIMER_MS } from '../async/with-timeout.js';
import type { SocketIoClient } from './connection.js';

/**
 * The authenticated Socket.IO clients that may recover their session. With its option `connectionStateRecovery`, Socket.IO
 * restores the rooms of a client that reconnects before any guard runs, even if the client's token was revoked meanwhile. So
 * each recovered client is reported, and is authenticated again.
 */
export class RecoverableClients {
  /** By client id. A client that has lost its connection has a timer, which forgets the client. */
  private readonly timers = new Map<string, NodeJS.Timeout | undefined>();
  /** The namespaces that are listened to. */
  private readonly namespaces = new WeakSet<object>();

  /** @param onRecovered - called with each remembered client that has recovered its session */
  constructor(private readonly onRecovered: (client: object) => void) {}

  /** Remembers a client for as long as it is connected, and afterwards for as long as Socket.IO would recover its session. */
  remember(client: SocketIoClient): void {
    const { id, nsp } = client;
    const recovery = nsp.server.opts?.connectionStateRecovery;
    const timer = this.timers.get(id);
    const isRemembered = this.timers.has(id) && !timer;
    if (!recovery || isRemembered) return;
    clearTimeout(timer);
    this.timers.set(id, undefined);
    const recoverableMs = Math.min(recovery.maxDisconnectionDuration ?? MAX_TIMER_MS, MAX_TIMER_MS);
    const forgetLater = () => this.timers.set(id, setTimeout(() => this.timers.delete(id), recoverableMs).unref());
    // The client may have lost its connection while it was authenticated. Then no event would follow.
    if (client.connected) client.once('disconnect', forgetLater);
    else forgetLater();
    this.listenTo(nsp);
  }

  private listenTo(namespace: SocketIoClient['nsp']): void {
    if (this.namespaces.has(namespace)) return;
    this.namespaces.add(namespace);
    namespace.on('connection', (client) => {
      if (client.recovered && this.timers.has(client.id)) this.onRecovered(client);
    });
  }
}
