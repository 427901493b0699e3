import { once } from 'node:events';
import { createServer } from 'node:net';
import { Module, UseGuards } from '@nestjs/common';
import { WsAdapter } from '@nestjs/platform-ws';
import {
  type OnGatewayConnection,
  SubscribeMessage,
  WebSocketGateway,
  WebSocketServer as GatewayServer,
} from '@nestjs/websockets';
import {
  CurrentToken,
  CurrentUser,
  type ExpiringTokenModuleOptions,
  ExpiringTokenGuard,
  OptionalToken,
  Public,
  SocketAuthenticator,
  type Token,
  type User,
} from 'nestjs-expiring-token';
import { io, type Socket } from 'socket.io-client';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import type { Database } from '../lib/database/database.js';
import { DATABASE } from '../lib/expiring-token.constants.js';
import { OpenConnections } from '../lib/sockets/open-connections.js';
import {
  type BootOptions,
  onEveryDatabase,
  onEveryStack,
  PASSWORD,
  type Stack,
  TestClock,
  type TestApp,
} from './fixtures/app.js';
import { SERVERS } from './fixtures/databases.js';
import { bearer } from './fixtures/http.js';
import { onRedis } from './fixtures/redis.js';

/** What tells of another process's revocation, at the latest. */
const SOON_MS = 250;

class NotesMessages {
  @SubscribeMessage('whoami')
  whoami(@CurrentUser() user: User, @CurrentToken() token: Token) {
    return { event: 'whoami', data: { user: user.username, deviceId: token.deviceId } };
  }

  @OptionalToken()
  @SubscribeMessage('optional')
  optional(@CurrentUser() user: User | null) {
    return { event: 'optional', data: { user: user?.username ?? null } };
  }

  @Public()
  @SubscribeMessage('public')
  public() {
    return { event: 'public', data: { public: true } };
  }
}

@WebSocketGateway({ path: '/notes' })
@UseGuards(ExpiringTokenGuard)
class NotesGateway extends NotesMessages {}

@Module({ providers: [NotesGateway] })
class NotesModule {}

/** Without a guard of its own. */
@WebSocketGateway({ path: '/notes' })
class BareGateway extends NotesMessages {}

@Module({ providers: [BareGateway] })
class BareModule {}

/** Tells its clients, which say nothing. */
@WebSocketGateway({ path: '/notes' })
class NewsGateway implements OnGatewayConnection {
  readonly seen: (string | null)[] = [];

  constructor(private readonly sockets: SocketAuthenticator) {}

  async handleConnection(client: object, request?: object) {
    const authentication = await this.sockets.authenticate(client, request);
    this.seen.push(authentication && (authentication.user as User).username);
  }
}

@Module({ providers: [NewsGateway] })
class NewsModule {}

interface Exception {
  status: string;
  message: string;
  code: string;
}

/** A client of either kind, as the tests use both. */
interface Client {
  /** Sends a message, and waits for the answer or the exception. */
  ask(event: string): Promise<unknown>;
  readonly exceptions: Exception[];
  /** Why it was closed. */
  readonly closed: Promise<string>;
  readonly isOpen: boolean;
  leave(): void;
}

type Presented = { header?: string; token?: unknown };

async function socketIoClient(app: TestApp, { header, token }: Presented): Promise<Client> {
  const socket: Socket = io(app.origin, {
    path: '/notes',
    transports: ['websocket'],
    forceNew: true,
    reconnection: false,
    extraHeaders: header === undefined ? {} : { Authorization: header },
    auth: token === undefined ? {} : { token },
  });
  const exceptions: Exception[] = [];
  socket.on('exception', (exception: Exception) => exceptions.push(exception));
  const closed = new Promise<string>((resolve) => socket.once('disconnect', resolve));
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('connect_error', reject));
  return {
    exceptions,
    closed,
    get isOpen() {
      return socket.connected;
    },
    leave: () => socket.disconnect(),
    ask: (event) =>
      new Promise((resolve) => {
        socket.once(event, resolve).once('exception', resolve);
        socket.emit(event, {});
      }),
  };
}

async function wsClient(app: TestApp, { header }: Presented): Promise<Client> {
  const socket = new WebSocket(`${app.origin.replace('http', 'ws')}/notes`, {
    headers: header === undefined ? {} : { Authorization: header },
  });
  const exceptions: Exception[] = [];
  socket.on('message', (text) => {
    const { event, data } = JSON.parse(String(text));
    if (event === 'exception') exceptions.push(data);
  });
  const closed = new Promise<string>((resolve) => {
    socket.once('close', (code, reason) => resolve(`${code} ${String(reason)}`));
  });
  await once(socket, 'open');
  return {
    exceptions,
    closed,
    get isOpen() {
      return socket.readyState === WebSocket.OPEN;
    },
    leave: () => socket.close(),
    ask: async (event) => {
      socket.send(JSON.stringify({ event, data: {} }));
      const [text] = await once(socket, 'message');
      return JSON.parse(String(text)).data;
    },
  };
}

const KINDS = [
  { kind: 'socket.io', connect: socketIoClient, configure: undefined, dead: 'io server disconnect' },
  {
    kind: 'ws',
    connect: wsClient,
    configure: (nest: Parameters<NonNullable<BootOptions['configure']>>[0]) =>
      void nest.useWebSocketAdapter(new WsAdapter(nest)),
    dead: '4401 token_invalid',
  },
];

const bearerOf = (token: string) => ({ header: `Bearer ${token}` });
const exception = (code: string, message: string) => ({ status: 'error', message, code });

describe.each(KINDS)('A gateway of $kind', ({ connect, configure, dead }) => {
  const boot = (stack: Stack, options: ExpiringTokenModuleOptions = {}, more: BootOptions = {}) =>
    stack.boot({ imports: [NotesModule], configure, options: { isGlobal: true, ...options }, ...more });

  onEveryStack(
    (stack) => {
      afterEach(() => stack.closeApplications());

      it('lets messages in by the token of the handshake', async () => {
        const app = await boot(stack);
        const user = await app.createUser();
        const { plainText, token } = await app.tokens.issue(user.id);
        const client = await connect(app, bearerOf(plainText));
        const answer = { user: user.username, deviceId: token.deviceId };
        expect(await client.ask('whoami')).toEqual(answer);
        expect(await client.ask('optional')).toEqual({ user: user.username });
        expect(await client.ask('public')).toEqual({ public: true });
        client.leave();
      });

      it('tells in an exception why it refuses, and stays open for what needs no token', async () => {
        const app = await boot(stack);
        const nobody = await connect(app, {});
        expect(await nobody.ask('whoami')).toEqual(
          exception('token_missing', 'Authentication credentials were not provided'),
        );
        expect(await nobody.ask('optional')).toEqual({ user: null });
        expect(await nobody.ask('public')).toEqual({ public: true });
        expect(nobody.isOpen).toBe(true);
        nobody.leave();
        const user = await app.createUser();
        const expired = await app.tokens.issue(user.id, { lifespan: 1 });
        const inactive = await app.createUser();
        const ofInactive = await app.tokens.issue(inactive.id);
        await app.users.setActive(inactive.id, false);
        app.clock.advance(1);
        for (const [token, code, message] of [
          ['nonsense', 'token_invalid', 'Invalid token'],
          [expired.plainText, 'token_expired', 'Token has expired'],
          [ofInactive.plainText, 'user_inactive', 'User inactive or deleted'],
        ] as const) {
          const client = await connect(app, bearerOf(token));
          expect(await client.ask('whoami')).toEqual(exception(code, message));
          expect(await client.ask('optional')).toEqual(exception(code, message));
          client.leave();
        }
      });
    },
    { databases: ['sqlite'] },
  );
});
