import {
  type CanActivate,
  type ExecutionContext,
  Injectable,
  type OnApplicationShutdown,
  type OnModuleInit,
} from '@nestjs/common';
import { type ApplicationConfig, ExternalContextCreator, HttpAdapterHost } from '@nestjs/core';
import type { Authentication } from '../tokens/token.interfaces.js';
import type { HttpRequest } from '../transports/http-request.js';
import { transportOf } from '../transports/transport-of.js';
import { isEventStream } from './handler-requirements.js';
import { RequestAuthenticator } from './request-authenticator.js';
import { SocketAuthenticator } from './socket-authenticator.js';

/** An instance of Express or Fastify, with the applications that use it. */
interface HttpServer {
  readonly owners: Set<RequestOwner>;
}

/** A request of Express (`app`) or Fastify (`server`), which refers to its instance. */
type RequestOfServer = HttpRequest & { app?: unknown; server?: unknown };

/** By instance. */
const servers = new WeakMap<object, HttpServer>();

/** By request: the application whose handler was called. */
const ownersByRequest = new WeakMap<object, RequestOwner>();

/** By request: the response of a handler with `@Sse()`. */
const eventStreams = new WeakMap<object, object>();

/** The applications that have not been closed. */
const running = new Set<RequestOwner>();

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
 * Returns the application whose handler a request has reached. A Passport strategy needs it: Passport has one strategy of a
 * name in the whole process, and several applications can run there, each with its own users.
 *
 * @throws Error if it is not clear which application it is. A token of another application must not be accepted
 */
export function ownerOf(request: RequestOfServer): RequestOwner {
  const marked = ownersByRequest.get(request);
  if (marked) return marked;
  const instances = [request.app, request.server].filter(isObject);
  const server = instances.map(findServer).find((each) => each !== undefined);
  // An object of the application that only looks like a request refers to no instance.
  const [only, ...others] = server?.owners ?? (instances.length === 0 ? running : []);
  // A request of an instance is marked when it reaches the handler of an application that imports the module. Without the
  // mark, the handler belongs to another application on the same instance.
  if (only && others.length === 0 && (instances.length === 0 || !only.marks)) return only;
  throw new Error(
    "AuthGuard('expiring-token') cannot tell which application of this process received the request, so it rejects it. " +
      'Import ExpiringTokenModule in each application that uses this guard, or use ExpiringTokenGuard.',
  );
}

/**
 * An application, for the Passport strategy: it authenticates requests as the guard does. It also runs as a guard before all
 * others, to note what the strategy does not see.
 */
@Injectable()
export class RequestOwner implements CanActivate, OnModuleInit, OnApplicationShutdown {
  private server?: HttpServer;
  /** Whether this application marks the requests of its handlers. */
  readonly marks: boolean;

  constructor(
    private readonly authenticator: RequestAuthenticator,
    private readonly sockets: SocketAuthenticator,
    private readonly host: HttpAdapterHost,
    contexts: ExternalContextCreator,
  ) {
    // Registered as APP_GUARD, this guard would run after those of the root module, for example AuthGuard('expiring-token'). At
    // this time, Nest has registered none. If a release of Nest hides the configuration, shared instances are rejected.
    const config = contexts['guardsContextCreator']?.['config'] as ApplicationConfig | undefined;
    config?.addGlobalGuard(this);
    this.marks = config !== undefined;
  }

  onModuleInit(): void {
    running.add(this);
    // An application without HTTP has no adapter.
    const instance: unknown = this.host.httpAdapter?.getInstance();
    if (!isObject(instance)) return;
    this.server = servers.get(instance) ?? { owners: new Set() };
    servers.set(instance, this.server);
    // A closed application is not removed: its routes stay in the instance, and must not accept the users of another one.
    this.server.owners.add(this);
  }

  onApplicationShutdown(): void {
    running.delete(this);
  }

  /** @returns true: this guard rejects no request */
  canActivate(context: ExecutionContext): boolean {
    this.mark(context);
    if (isEventStream(context)) {
      const http = context.switchToHttp();
      eventStreams.set(http.getRequest<object>(), http.getResponse<object>());
    }
    return true;
  }

  /** Authenticates a request of this application. The stream of a handler with `@Sse()` ends with the token. */
  async authenticate(request: HttpRequest): Promise<Authentication> {
    const authentication = await this.authenticator.authenticate(request);
    const eventStream = eventStreams.get(request);
    if (eventStream) this.sockets.watchEventStream(request, eventStream, authentication.token);
    return authentication;
  }

  private mark(context: ExecutionContext): void {
    const type: string = context.getType();
    if (type === 'http' || type === 'graphql') {
      ownersByRequest.set(transportOf(context).getRequest(context), this);
    }
  }
}
