import type { ExpiringTokenException } from '../errors/expiring-token.exception.js';

/** A connection that stays open after its handshake, of whichever transport. */
export interface Connection {
  readonly isOpen: boolean;
  /** Tells the client why, where the transport has a form for it, and closes. */
  close(error: ExpiringTokenException): void;
  /** Calls once, when the connection has ended, whoever ended it. */
  onceClosed(listener: () => void): void;
  /** A client that may lose its connection, and be given what it had before. */
  readonly recoverable?: SocketIoClient;
}

/** The part of a Socket.IO socket that is used here. */
export interface SocketIoClient {
  /** The same once it is restored. */
  readonly id: string;
  readonly connected: boolean;
  /** Whether it was restored: has its rooms back, and what it missed. */
  readonly recovered?: boolean;
  readonly nsp: {
    readonly server: { readonly opts?: { connectionStateRecovery?: { maxDisconnectionDuration?: number } } };
    on(event: 'connection', listener: (client: SocketIoClient) => void): unknown;
  };
  emit(event: string, payload: object): unknown;
  disconnect(close: boolean): unknown;
  once(event: 'disconnect', listener: () => void): unknown;
}

/** The part of a socket of `ws` that is used here. */
export interface WebSocketClient {
  readonly readyState: number;
  send(data: string): void;
  close(code: number, reason: string): void;
  terminate(): void;
  once(event: 'close', listener: () => void): unknown;
}

/** The part of a socket of Node that is used here. */
export interface NetSocket {
  readonly destroyed: boolean;
  destroy(): unknown;
  once(event: 'close', listener: () => void): unknown;
}

/** RFC 6455 §7.4.2: applications have 4000 to 4999. `graphql-ws` calls this one Unauthorized, and does not try again. */
const UNAUTHORIZED = 4401;

/** In the registry of RFC 6455 §11.7: Try Again Later. */
const TRY_AGAIN_LATER = 1013;

const OPEN = 1;

/** How long a client of `ws` has to close its end. Until then its messages still come to handlers. */
const CLOSE_TIMEOUT_MS = 1000;

/** An error as the event `exception` of a gateway tells it. */
export const exceptionOf = ({ message, code }: ExpiringTokenException) => ({ status: 'error', message, code });

export const socketIoConnection = (client: SocketIoClient): Connection => ({
  recoverable: client,
  get isOpen() {
    return client.connected;
  },
  close(error) {
    client.emit('exception', exceptionOf(error));
    // With the connection beneath it: what is left of it has no token.
    client.disconnect(true);
  },
  onceClosed(listener) {
    client.once('disconnect', listener);
  },
});

/** @param tells - whether clients know the event `exception`, as those of a gateway do */
export const webSocketConnection = (client: WebSocketClient, tells: boolean): Connection => ({
  get isOpen() {
    return client.readyState === OPEN;
  },
  close(error) {
    if (tells) client.send(JSON.stringify({ event: 'exception', data: exceptionOf(error) }));
    client.close(error.code === 'unavailable' ? TRY_AGAIN_LATER : UNAUTHORIZED, error.code);
    const timer = setTimeout(() => client.terminate(), CLOSE_TIMEOUT_MS).unref();
    client.once('close', () => clearTimeout(timer));
  },
  onceClosed(listener) {
    client.once('close', listener);
  },
});

/** Where nothing but the socket beneath is known. */
export const bareConnection = (socket: NetSocket): Connection => ({
  get isOpen() {
    return !socket.destroyed;
  },
  close() {
    socket.destroy();
  },
  onceClosed(listener) {
    socket.once('close', listener);
  },
});
