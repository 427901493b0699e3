import { Injectable, type OnModuleInit } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { EventEmitter } from 'node:events';
import type { UpgradeRequest } from './handshake.js';

const requestsBySocket = new WeakMap<object, UpgradeRequest>();

/** Returns the request that opened a WebSocket; undefined if it was recorded for none of these keys. */
export const upgradeRequestOf = (...keys: unknown[]): UpgradeRequest | undefined =>
  keys.map((key) => requestsBySocket.get(key as object)).find((request) => request !== undefined);

/** Records the requests that open WebSockets, because a socket of `ws` does not refer to its request. */
@Injectable()
export class UpgradeRequests implements OnModuleInit {
  constructor(private readonly host: HttpAdapterHost) {}

  /** Gateways have added their listeners when modules are initialized. */
  onModuleInit(): void {
    // An application without HTTP has no server.
    const server = this.host.httpAdapter?.getHttpServer?.() as EventEmitter | undefined;
    // With the first listener, Node stops answering requests that have an Upgrade header. So this class must not add the first one.
    if (!server?.listenerCount?.('upgrade')) return;
    server.prependListener('upgrade', (request: UpgradeRequest, socket: object) =>
      requestsBySocket.set(socket, request),
    );
  }
}
