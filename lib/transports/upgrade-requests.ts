import { Injectable, type OnModuleInit } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { EventEmitter } from 'node:events';
import type { Upgrade } from './handshake.js';

const upgrades = new WeakMap<object, Upgrade>();

/** The request that a WebSocket began with, by any of what it is known by. */
export const upgradeOf = (...keys: unknown[]): Upgrade | undefined =>
  keys.map((key) => upgrades.get(key as object)).find((upgrade) => upgrade !== undefined);

/**
 * Remembers the requests that WebSockets begin with: a socket of `ws` does not know its own. Gateways are there when a module
 * is initialised.
 */
@Injectable()
export class UpgradeRequests implements OnModuleInit {
  constructor(private readonly host: HttpAdapterHost) {}

  onModuleInit(): void {
    // There is no server in an application without HTTP.
    const server = this.host.httpAdapter?.getHttpServer?.() as EventEmitter | undefined;
    // The first listener changes Node: it hands over each request with an Upgrade header, and answers none of them itself.
    if (!server?.listenerCount?.('upgrade')) return;
    server.prependListener('upgrade', (request: Upgrade, socket: object) => upgrades.set(socket, request));
  }
}
