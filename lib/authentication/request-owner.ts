import {
  type CanActivate,
  type ExecutionContext,
  Injectable,
  type OnApplicationShutdown,
  type OnModuleInit,
} from '@nestjs/common';
import { type ApplicationConfig, ExternalContextCreator, HttpAdapterHost } from '@nestjs/core';
import type { HttpRequest } from '../transports/http-request.js';
import { transportOf } from '../transports/transport-of.js';
import { RequestAuthenticator } from './request-authenticator.js';

/** An instance of Express or Fastify, with the authenticators of the applications that use it. */
interface HttpServer {
  readonly authenticators: Set<RequestAuthenticator>;
}

/** A request of Express (`app`) or Fastify (`server`), which refers to its instance. */
type RequestOfServer = HttpRequest & { app?: unknown; server?: unknown };

/** By instance. */
const servers = new WeakMap<object, HttpServer>();

/** By request, if several applications share the instance: that of the application whose handler was called. */
const markedRequests = new WeakMap<object, RequestAuthenticator>();

/** The authenticators of the applications that have not been closed. */
const running = new Set<RequestAuthenticator>();

const isObject = (value: unknown): value is object =>
  (typeof value === 'object' && value !== null) || typeof value === 'function';

/** Plugins of Fastify have an instance of their own, whose prototype is the instance of the application. */
function findServer(instance: object): HttpServer | undefined {
  for (let each: object | null = instance; each; each = Object.getPrototypeOf(each) as object | null) {
    if (servers.has(each)) return servers.get(each);
  }
  return undefined;
}

/**
 * Returns the authenticator of the application whose handler a request has reached. A Passport strategy needs it: Passport has
 * one strategy of a name in the whole process, and several applications can run there, each with its own users.
 *
 * @throws Error if it is not clear which application it is. A token of another application must not be accepted
 */
export function authenticatorOf(request: RequestOfServer): RequestAuthenticator {
  const marked = markedRequests.get(request);
  if (marked) return marked;
  const instances = [request.app, request.server].filter(isObject);
  const server = instances.map(findServer).find((each) => each !== undefined);
  // An object of the application that only looks like a request refers to no instance.
  const [only, ...others] = server?.authenticators ?? (instances.length === 0 ? running : []);
  if (only && others.length === 0) return only;
  throw new Error(
    "AuthGuard('expiring-token') cannot tell which application of this process received the request, so it rejects it. " +
      'Import ExpiringTokenModule in each application that uses this guard, or use ExpiringTokenGuard.',
  );
}

/** Marks the requests of an application, if it shares its instance of Express or Fastify with another application. */
@Injectable()
export class RequestOwner implements CanActivate, OnModuleInit, OnApplicationShutdown {
  private server?: HttpServer;

  constructor(
    private readonly authenticator: RequestAuthenticator,
    private readonly host: HttpAdapterHost,
    contexts: ExternalContextCreator,
  ) {
    // Registered as APP_GUARD, this guard would run after those of the root module, for example AuthGuard('expiring-token'). At
    // this time, Nest has registered none. If a release of Nest hides the configuration, shared instances are rejected.
    const config = contexts['guardsContextCreator']?.['config'] as ApplicationConfig | undefined;
    config?.addGlobalGuard(this);
  }

  onModuleInit(): void {
    running.add(this.authenticator);
    // An application without HTTP has no adapter.
    const instance: unknown = this.host.httpAdapter?.getInstance();
    if (!isObject(instance)) return;
    this.server = servers.get(instance) ?? { authenticators: new Set() };
    servers.set(instance, this.server);
    // A closed application is not removed: its routes stay in the instance, and must not accept the users of another one.
    this.server.authenticators.add(this.authenticator);
  }

  onApplicationShutdown(): void {
    running.delete(this.authenticator);
  }

  /** @returns true: this guard rejects no request */
  canActivate(context: ExecutionContext): boolean {
    if (this.server && this.server.authenticators.size > 1) this.mark(context);
    return true;
  }

  private mark(context: ExecutionContext): void {
    const type: string = context.getType();
    if (type === 'http' || type === 'graphql') {
      markedRequests.set(transportOf(context).getRequest(context), this.authenticator);
    }
  }
}
