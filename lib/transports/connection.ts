import type { ExpiringTokenException } from '../errors/expiring-token.exception.js';

/** A connection that stays open after its handshake, of any transport. */
export interface Connection {
  readonly isOpen: boolean;
  /** Sends the error to the client if the transport has a message for it, and closes the connection. */
  close(error: ExpiringTokenException): void;
  /** Calls the listener once, when the client or the server has ended the connection. */
  onceClosed(listener: () => void): void;
  /** The client, if it can reconnect and recover its session (Socket.IO's `connectionStateRecovery`). */
  readonly recoverable?: SocketIoClient;
}

/** The parts of a Socket.IO socket that are used here. */
export interface SocketIoClient {
  /** A recovered socket has the same id as before. */
  readonly id: string;
  readonly connected: boolean;
  /** Whether the socket was recovered: it has its rooms, and receives the packets that it missed. */
  readonly recovered?: boolean;
  readonly nsp: {
    readonly server: { readonly opts?: { connectionStateRecovery?: { maxDisconnectionDuration?: number } } };
    on(event: 'connection', listener: (client: SocketIoClient) => void): unknown;
  };
  emit(event: string, payload: object): unknown;
  disconnect(close: boolean): unknown;
  once(event: 'disconnect', listener: () => void): unknown;
}

/** The parts of a `ws` socket that are used here. */
export interface WebSocketClient {
  readonly readyState: number;
  send(data: string): void;
  close(code: number, reason: string): void;
  terminate(): void;
  once(event: 'close', listener: () => void): unknown;
}

/** The parts of a `net.Socket` that are used here. */
export interface NetSocket {
  readonly destroyed: boolean;
  destroy(): unknown;
  once(event: 'close', listener: () => void): unknown;
}

/** RFC 6455 §7.4.2: 4000 to 4999 are for applications. `graphql-ws` calls 4401 Unauthorized, and does not reconnect. */
const UNAUTHORIZED = 4401;

/** RFC 6455 §11.7, the registry of close codes: Try Again Later. */
const TRY_AGAIN_LATER = 1013;

/** The `readyState` of an open WebSocket. */
const OPEN = 1;

/**
 * Time limit for a client to receive the last message, and for a client of `ws` to close its end. Until then, handlers still
 * receive the messages of such a client.
 */
export const CLOSE_TIMEOUT_MS = 1000;

/** Returns the payload of a gateway's event `exception`. */
export const exceptionPayload = ({ message, code }: ExpiringTokenException) => ({ status: 'error', message, code });

/** Returns the `net.Socket` of a `ws` socket, which `ws` keeps in a private member; undefined if there is none. */
export const netSocketOf = (client: object): unknown => (client as { _socket?: unknown })['_socket'];

export const socketIoConnection = (client: SocketIoClient): Connection => ({
  recoverable: client,
  get isOpen() {
    return client.connected;
  },
  close(error) {
    client.emit('exception', exceptionPayload(error));
    // Closes the underlying connection too: other namespaces on it were opened with the same token.
    client.disconnect(true);
  },
  onceClosed(listener) {
    client.once('disconnect', listener);
  },
});

/** @param isGateway - whether the client expects the event `exception`: clients of gateways do, clients of `graphql-ws` do not */
export const webSocketConnection = (client: WebSocketClient, isGateway: boolean): Connection => ({
  get isOpen() {
    return client.readyState === OPEN;
  },
  close(error) {
    if (isGateway) client.send(JSON.stringify({ event: 'exception', data: exceptionPayload(error) }));
    client.close(error.code === 'unavailable' ? TRY_AGAIN_LATER : UNAUTHORIZED, error.code);
    const timer = setTimeout(() => client.terminate(), CLOSE_TIMEOUT_MS).unref();
    client.once('close', () => clearTimeout(timer));
  },
  onceClosed(listener) {
    client.once('close', listener);
  },
});

/** For a connection of which only the network socket is known. The client receives no reason. */
export const netSocketConnection = (socket: NetSocket): Connection => ({
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
