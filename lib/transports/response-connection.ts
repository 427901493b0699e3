import type { Readable } from 'node:stream';
import { CLOSE_TIMEOUT_MS, type Connection, exceptionPayload } from './connection.js';

/** The parts of Node's response that are used here: `http.ServerResponse`, or that of HTTP/2. */
interface NodeResponse {
  /** HTTP/2 does not have it. */
  readonly destroyed?: boolean;
  readonly writableEnded: boolean;
  readonly headersSent: boolean;
  end(chunk: string, callback: () => void): unknown;
  destroy(): unknown;
  on(event: 'pipe', listener: (source: Readable) => void): unknown;
  once(event: 'close', listener: () => void): unknown;
}

/** Returns Node's response: Fastify has a wrapper around it, and Express has not. */
const nodeResponseOf = (response: object): NodeResponse =>
  (response as { raw?: NodeResponse }).raw ?? (response as NodeResponse);

/**
 * A response that takes long, for example a download. It is aborted, as if the network had failed: a client must not mistake
 * the first part of a file for the whole.
 */
export function responseConnection(response: object): Connection {
  const nodeResponse = nodeResponseOf(response);
  return {
    get isOpen() {
      return !nodeResponse.writableEnded && !nodeResponse.destroyed;
    },
    close() {
      nodeResponse.destroy();
    },
    onceClosed(listener) {
      nodeResponse.once('close', listener);
    },
  };
}

/**
 * The response of a handler with `@Sse()`. The client receives a last event, `exception`, and the response ends. Create the
 * connection before Nest starts the stream.
 */
export function eventStreamConnection(response: object): Connection {
  const nodeResponse = nodeResponseOf(response);
  let source: Readable | undefined;
  nodeResponse.on('pipe', (stream) => (source = stream));
  return Object.assign(responseConnection(response), {
    close(error: Parameters<Connection['close']>[0]) {
      // Without headers, the event would be a response of another type.
      if (!source || !nodeResponse.headersSent) return nodeResponse.destroy();
      // What Nest writes from now on must not reach the client, and would be an error after the end.
      source.unpipe(nodeResponse as unknown as NodeJS.WritableStream);
      // The connection is closed too, because this is the event by which Nest ends the Observable of the handler.
      const destroy = () => nodeResponse.destroy();
      const timer = setTimeout(destroy, CLOSE_TIMEOUT_MS).unref();
      nodeResponse.once('close', () => clearTimeout(timer));
      return nodeResponse.end(`event: exception\ndata: ${JSON.stringify(exceptionPayload(error))}\n\n`, destroy);
    },
  });
}
