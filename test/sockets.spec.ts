import { EventEmitter, once } from 'node:events';
import net from 'node:net';
import { setImmediate as immediate } from 'node:timers/promises';
import { type ArgumentsHost, Catch, Inject, Module, UseFilters, UseGuards } from '@nestjs/common';
import { WsAdapter } from '@nestjs/platform-ws';
import {
  BaseWsExceptionFilter,
  ConnectedSocket,
  type OnGatewayConnection,
  SubscribeMessage,
  WebSocketGateway,
  WebSocketServer,
} from '@nestjs/websockets';
import {
  CurrentToken,
  CurrentUser,
  type ExpiringTokenModuleOptions,
  ExpiringTokenGuard,
  OptionalToken,
  PersonalTokenService,
  Public,
  RequireLogin,
  RequireScopes,
  SocketAuthenticator,
  type Token,
  type User,
} from 'nestjs-expiring-token';
import type { Server, Socket as ServerSocket } from 'socket.io';
import { io, type Socket } from 'socket.io-client';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import { BackgroundTask } from '../lib/async/background-task.js';
import { RemoteChanges } from '../lib/tokens/token-changes.js';
import { OpenConnections } from '../lib/transports/open-connections.js';
import { RecoverableClients } from '../lib/transports/recoverable-clients.js';
import {
  type BootOptions,
  warnings,
  onEveryDatabase,
  onEveryEnvironment,
  type TestEnvironment,
  TestClock,
  TestApp,
} from './fixtures/app.js';
import { SERVERS } from './fixtures/databases.js';
import { freePort } from './fixtures/free-port.js';
import { bearer } from './fixtures/http.js';
import { onRedis } from './fixtures/redis.js';
import { NEST_MAJOR } from './fixtures/versions.js';

/** Longest time until a revocation by another process arrives, */
const SOON_MS = 250;
/** and until a revocation by this process takes effect on a busy machine: too early for the periodic check. */
const AT_ONCE_MS = 2000;

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

  @RequireLogin()
  @SubscribeMessage('account')
  account(@CurrentUser() user: User) {
    return { event: 'account', data: { user: user.username } };
  }

  @RequireScopes('notes:read')
  @SubscribeMessage('read')
  read() {
    return { event: 'read', data: { read: true } };
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

/** Sends exceptions to clients of ws, as docs/sockets.md shows it. */
@Catch()
class WsClientFilter extends BaseWsExceptionFilter {
  override catch(exception: unknown, host: ArgumentsHost) {
    const client = host.switchToWs().getClient<WebSocket>();
    const emit = (event: string, data: object) => client.send(JSON.stringify({ event, data }));
    this.handleError({ emit }, exception, { pattern: '', data: {} });
  }
}

/** For gateways of ws. Nest 12 needs no filter. */
const SendExceptions = () => (NEST_MAJOR === 11 ? UseFilters(WsClientFilter) : () => undefined);

@WebSocketGateway({ path: '/notes' })
@UseGuards(ExpiringTokenGuard)
@SendExceptions()
class WsNotesGateway extends NotesMessages {}

@Module({ providers: [WsNotesGateway] })
class WsNotesModule {}

/** A gateway without a guard of its own. */
@WebSocketGateway({ path: '/notes' })
class BareGateway extends NotesMessages {}

@Module({ providers: [BareGateway] })
class BareModule {}

/** Emits to its clients, which send nothing. */
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

/** Restores the rooms of a client that lost its connection. */
@WebSocketGateway({ path: '/rooms', connectionStateRecovery: {} })
@UseGuards(ExpiringTokenGuard)
class RoomGateway {
  @WebSocketServer()
  readonly server: Server;

  @SubscribeMessage('join')
  async join(@ConnectedSocket() client: ServerSocket) {
    // As applications do it, with all values of the previous connection.
    client.data = { joined: true };
    await client.join('room');
    return { event: 'joined' };
  }
}

@Module({ providers: [RoomGateway] })
class RoomModule {}

interface Exception {
  status: string;
  message: string;
  code: string;
}

/** The interface that the tests use for both kinds of client. */
interface Client {
  /** Sends a message, and waits for the response or the exception. */
  ask(event: string): Promise<unknown>;
  readonly exceptions: Exception[];
  /** The reason why the connection was closed. */
  readonly closed: Promise<string>;
  readonly isOpen: boolean;
  leave(): void;
}

interface Presented {
  header?: string;
  token?: unknown;
  query?: string;
  refresh?: string;
}

const headersOf = ({ header, refresh }: Presented) => ({
  ...(header === undefined ? {} : { Authorization: header }),
  ...(refresh === undefined ? {} : { 'Refresh-Token': refresh }),
});

/** A clock of real time. */
const realClock = () => Object.defineProperty(new TestClock(), 'now', { get: Date.now });

async function socketIoClient(app: TestApp, presented: Presented): Promise<Client> {
  const { token, query = '' } = presented;
  const socket: Socket = io(`${app.origin}/?${query}`, {
    path: '/notes',
    transports: ['websocket'],
    forceNew: true,
    reconnection: false,
    extraHeaders: headersOf(presented),
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

async function wsClient(app: TestApp, presented: Presented): Promise<Client> {
  const address = `${app.origin.replace('http', 'ws')}/notes?${presented.query ?? ''}`;
  const socket = new WebSocket(address, { headers: headersOf(presented) });
  const exceptions: Exception[] = [];
  socket.on('message', (text: Buffer) => {
    const { event, data } = JSON.parse(text.toString());
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
  {
    kind: 'socket.io',
    notes: NotesModule,
    connect: socketIoClient,
    configure: undefined,
    closedBy: 'io server disconnect',
  },
  {
    kind: 'ws',
    notes: WsNotesModule,
    connect: wsClient,
    configure: (nest: Parameters<NonNullable<BootOptions['configure']>>[0]) =>
      void nest.useWebSocketAdapter(new WsAdapter(nest)),
    closedBy: '4401 token_invalid',
  },
];

const bearerOf = (token: string) => ({ header: `Bearer ${token}` });
const exception = (code: string, message: string) => ({ status: 'error', message, code });

describe.each(KINDS)('A gateway of $kind', ({ notes, connect, configure, closedBy }) => {
  const boot = (environment: TestEnvironment, options: ExpiringTokenModuleOptions = {}, more: BootOptions = {}) =>
    environment.boot({ imports: [notes], configure, options: { isGlobal: true, ...options }, ...more });

  onEveryEnvironment(
    (environment) => {
      afterEach(() => environment.closeApplications());

      it('rejects the messages of a personal token where @RequireLogin() says so, and keeps it connected', async () => {
        const app = await boot(environment, { personal: true });
        const { id, username } = await app.createUser();
        const { plainText, token } = await app.nest.get(PersonalTokenService).issue(id, { name: 'script' });
        const client = await connect(app, bearerOf(plainText));
        const refusal = exception('login_required', 'A personal token is not accepted here');
        expect(await client.ask('account')).toMatchObject(refusal);
        expect(await client.ask('whoami')).toEqual({ user: username, deviceId: token.deviceId });
        expect(await client.ask('account')).toMatchObject(refusal);
        expect(client.isOpen).toBe(true);
        const other = await connect(app, bearerOf(await app.token(id)));
        expect(await other.ask('account')).toEqual({ user: username });
        for (const each of [client, other]) each.leave();
      });

      it('authenticates messages by the token of the handshake', async () => {
        const app = await boot(environment);
        const user = await app.createUser();
        const { plainText, token } = await app.tokens.issue(user.id);
        const client = await connect(app, bearerOf(plainText));
        const answer = { user: user.username, deviceId: token.deviceId };
        expect(await client.ask('whoami')).toEqual(answer);
        expect(await client.ask('optional')).toEqual({ user: user.username });
        expect(await client.ask('public')).toEqual({ public: true });
        client.leave();
      });

      it('emits the reason of a rejection as an exception, and stays open for handlers that need no token', async () => {
        const app = await boot(environment);
        const nobody = await connect(app, {});
        expect(await nobody.ask('whoami')).toEqual(
          exception('token_missing', 'Authentication credentials were not provided'),
        );
        expect(await nobody.ask('optional')).toEqual({ user: null });
        expect(await nobody.ask('public')).toEqual({ public: true });
        expect(nobody.isOpen).toBe(true);
        nobody.leave();
        for (const [token, code, message] of await app.badTokens()) {
          const client = await connect(app, bearerOf(token));
          expect(await client.ask('whoami'), code).toEqual(exception(code, message));
          expect(await client.ask('optional'), code).toEqual(exception(code, message));
          client.leave();
        }
      });

      it('checks the scopes of each message, and the connection stays open', async () => {
        const app = await boot(environment, { scopes: ['notes:read', 'notes:write'] });
        const user = await app.createUser();
        const clientWith = async (...scopes: string[]) =>
          connect(app, bearerOf((await app.tokens.issue(user.id, { scopes })).plainText));
        const writer = await clientWith('notes:write');
        expect(await writer.ask('read')).toEqual(exception('scope_insufficient', 'The token lacks a required scope'));
        expect(await writer.ask('whoami')).toMatchObject({ user: user.username });
        // The earlier message was accepted, which says nothing about this one.
        expect(await writer.ask('read')).toMatchObject({ code: 'scope_insufficient' });
        expect(writer.isOpen).toBe(true);
        const reader = await clientWith('notes:read');
        expect(await reader.ask('read')).toEqual({ read: true });
        const nobody = await connect(app, {});
        expect(await nobody.ask('read')).toMatchObject({ code: 'token_missing' });
        for (const client of [writer, reader, nobody]) client.leave();
      });

      it('rejects a handshake with two tokens', async () => {
        const app = await boot(environment);
        const token = await app.token();
        const client = await connect(app, { ...bearerOf(token), query: `access_token=${token}` });
        expect(await client.ask('whoami')).toEqual(
          exception('request_invalid', 'Token in the Authorization header and in the query'),
        );
        client.leave();
      });
    },
    { databases: ['sqlite'] },
  );

  onEveryDatabase(
    (environment) => {
      afterEach(() => environment.closeApplications());

      const bootBare = () => boot(environment, { globalGuard: true }, { imports: [BareModule] });

      it.runIf(NEST_MAJOR === 11)('stops the start beside the option globalGuard, with NestJS 11', async () => {
        await expect(bootBare()).rejects.toThrow(
          'globalGuard: BareGateway.whoami would need no token, because Nest 11',
        );
      });

      it.skipIf(NEST_MAJOR === 11)('is protected by the option globalGuard, with NestJS 12', async () => {
        const app = await bootBare();
        const [nobody, somebody] = [await connect(app, {}), await connect(app, bearerOf(await app.token()))];
        expect(await nobody.ask('whoami')).toMatchObject({ code: 'token_missing' });
        expect(await nobody.ask('public')).toEqual({ public: true });
        expect(await somebody.ask('whoami')).toHaveProperty('deviceId');
        for (const client of [nobody, somebody]) client.leave();
      });

      /** An accepted connection of a user who has a second connection with another device. */
      async function twoDevices(app: TestApp) {
        const user = await app.createUser();
        const issued = [
          await app.tokens.issue(user.id, { name: 'first' }),
          await app.tokens.issue(user.id, { name: 'second' }),
        ] as const;
        const clients = await Promise.all(issued.map(({ plainText }) => connect(app, bearerOf(plainText))));
        for (const [index, client] of clients.entries())
          expect(await client.ask('whoami'), `client ${index}`).toMatchObject({ user: user.username });
        const [{ plainText, token }, other] = issued;
        return { user, plainText, token, other, client: clients[0]!, otherClient: clients[1]! };
      }

      it('closes the connections of a token that this process revoked immediately, and no others', async () => {
        const app = await boot(environment);
        type Device = Awaited<ReturnType<typeof twoDevices>>;
        const ways: Record<string, (device: Device) => Promise<unknown>> = {
          logout: ({ plainText }) => app.post('/auth/logout', undefined, plainText),
          'logout-all': ({ other }) => app.post('/auth/logout-all', { keepCurrent: true }, other.plainText),
          'DELETE of the device': ({ token, other }) =>
            app.send(`/auth/devices/${token.deviceId}`, { method: 'DELETE', headers: bearer(other.plainText) }),
          revoke: ({ user, token }) => app.tokens.revoke(user.id, token.deviceId),
          changePassword: ({ user, other }) =>
            app.users.changePassword(user.id, 'another password', { except: other.token.deviceId }),
        };
        for (const [way, end] of Object.entries(ways)) {
          const device = await twoDevices(app);
          await end(device);
          const endedAt = performance.now();
          expect(await device.client.closed, way).toBe(closedBy);
          expect(performance.now() - endedAt, way).toBeLessThan(AT_ONCE_MS);
          expect(device.client.exceptions, way).toEqual([exception('token_invalid', 'Invalid token')]);
          expect(await device.otherClient.ask('whoami'), way).toMatchObject({ user: device.user.username });
          device.otherClient.leave();
        }
      });

      it('closes all connections of a user who was deleted, deactivated or logged out everywhere', async () => {
        const app = await boot(environment);
        for (const [way, end, code] of [
          ['delete', (id: string) => app.users.delete(id), 'token_invalid'],
          ['setActive', (id: string) => app.users.setActive(id, false), 'user_inactive'],
          ['revokeAll', (id: string) => app.tokens.revokeAll(id), 'token_invalid'],
        ] as const) {
          const { user, client, otherClient } = await twoDevices(app);
          await end(user.id);
          const endedAt = performance.now();
          for (const [name, one] of Object.entries({ client, otherClient })) {
            expect(await one.closed, `${way}, ${name}`).toBe(closedBy.replace('token_invalid', code));
            expect(
              one.exceptions.map((received) => received.code),
              `${way}, ${name}`,
            ).toEqual([code]);
          }
          expect(performance.now() - endedAt, way).toBeLessThan(AT_ONCE_MS);
        }
      });

      it('closes a connection when its token expires, by lifespan or by idle', async () => {
        const app = await boot(environment, { idle: '700ms' }, { clock: realClock() });
        const { id } = await app.createUser();
        const short = await app.tokens.issue(id, { lifespan: 400 });
        const usual = await app.tokens.issue(id);
        const clients = await Promise.all([short, usual].map(({ plainText }) => connect(app, bearerOf(plainText))));
        for (const client of clients) await client.ask('whoami');
        for (const [index, client] of clients.entries()) {
          expect(await client.closed, `client ${index}`).toBe(closedBy.replace('token_invalid', 'token_expired'));
          expect(client.exceptions, `client ${index}`).toEqual([exception('token_expired', 'Token has expired')]);
        }
        const livedMs = Date.now() - usual.token.created.getTime();
        expect(livedMs).toBeGreaterThanOrEqual(700);
        expect(livedMs).toBeLessThan(700 + AT_ONCE_MS);
      });

      it('closes a connection whose token expired during an outage of the database, and rejects nobody else', async () => {
        const app = await boot(environment, {}, { clock: realClock() });
        const { plainText } = await app.tokens.issue((await app.createUser()).id, { lifespan: 700 });
        const client = await connect(app, bearerOf(plainText));
        await client.ask('whoami');
        await app.dataSource.query('ALTER TABLE auth_token RENAME TO away');
        expect(await client.closed).toBe(closedBy.replace('4401 token_invalid', '1013 unavailable'));
        expect(client.exceptions).toEqual([exception('unavailable', 'Authentication is temporarily unavailable')]);
        await app.dataSource.query('ALTER TABLE away RENAME TO auth_token');
      });

      it('keeps a connection open whose token was renewed meanwhile', async () => {
        const app = await boot(environment, {}, { clock: realClock() });
        const { plainText, token } = await app.tokens.issue((await app.createUser()).id, { lifespan: 500 });
        const look = vi.spyOn(app.tokens, 'introspect');
        const client = await connect(app, bearerOf(plainText));
        await client.ask('whoami');
        await look.mock.results[0]!.value;
        await app.dataSource.query(`UPDATE auth_token SET lifespan = 3600000 WHERE user_id = '${token.userId}'`);
        await vi.waitFor(() => expect(look).toHaveBeenCalledTimes(2), { timeout: 5000 });
        expect(await client.ask('whoami')).toMatchObject({ deviceId: token.deviceId });
        client.leave();
      });

      it('closes a connection within cache.ttl after a revocation by another process or by SQL', async () => {
        const app = await boot(environment, { cache: { ttl: '300ms' } });
        const elsewhere = await environment.boot();
        const { user, token, client, otherClient } = await twoDevices(app);
        await elsewhere.tokens.revoke(user.id, token.deviceId);
        expect(await client.closed).toBe(closedBy);
        expect(otherClient.isOpen).toBe(true);
        await app.dataSource.query('DELETE FROM auth_token');
        expect(await otherClient.closed).toBe(closedBy);
      });

      it('closes no connection while the database is unavailable, and the revoked ones afterwards', async () => {
        const app = await boot(environment, { cache: { ttl: '100ms' } });
        const { user, client, otherClient } = await twoDevices(app);
        await app.dataSource.query('ALTER TABLE auth_token RENAME TO away');
        const sweeps = () => warnings.filter((line) => line.includes('tokens of open connections')).length;
        const before = sweeps();
        await vi.waitFor(() => expect(sweeps()).toBeGreaterThan(before + 1), { timeout: 5000 });
        expect(await client.ask('whoami')).toEqual(
          exception('unavailable', 'Authentication is temporarily unavailable'),
        );
        expect([client.isOpen, otherClient.isOpen]).toEqual([true, true]);
        await app.dataSource.query("DELETE FROM away WHERE name = 'first'");
        await app.dataSource.query('ALTER TABLE away RENAME TO auth_token');
        expect(await client.closed).toBe(closedBy);
        expect(await otherClient.ask('whoami')).toMatchObject({ user: user.username });
        otherClient.leave();
      });

      it('watches a connection once, and not after it ended', async () => {
        const app = await boot(environment);
        const connections = app.nest.get(OpenConnections);
        const schedule = vi.spyOn(BackgroundTask.prototype, 'schedule');
        const { client, otherClient } = await twoDevices(app);
        await client.ask('whoami');
        expect(connections.size).toBe(2);
        // Without the option cache, by the periodic check.
        expect(schedule).toHaveBeenCalledWith(10_000);
        schedule.mockRestore();
        client.leave();
        await vi.waitFor(() => expect(connections.size).toBe(1));
        otherClient.leave();
        await vi.waitFor(() => expect(connections.size).toBe(0));
      });

      it('authenticates a client that sends no message after it connected', async () => {
        const app = await boot(environment, {}, { imports: [NewsModule] });
        const { seen } = app.nest.get(NewsGateway, { strict: false });
        const user = await app.createUser();
        const { plainText, token } = await app.tokens.issue(user.id);
        const client = await connect(app, bearerOf(plainText));
        await vi.waitFor(() => expect(seen).toEqual([user.username]));
        await app.tokens.revoke(user.id, token.deviceId);
        expect(await client.closed).toBe(closedBy);
        const nobody = await connect(app, {});
        expect(await nobody.closed).toBe(closedBy.replace('token_invalid', 'token_missing'));
        expect(nobody.exceptions).toEqual([exception('token_missing', 'Authentication credentials were not provided')]);
        await app.dataSource.query('ALTER TABLE auth_token RENAME TO away');
        const early = await connect(app, bearerOf(plainText));
        expect(await early.closed).toBe(closedBy.replace('4401 token_invalid', '1013 unavailable'));
        expect(early.exceptions).toEqual([exception('unavailable', 'Authentication is temporarily unavailable')]);
        await app.dataSource.query('ALTER TABLE away RENAME TO auth_token');
        expect(seen).toEqual([user.username, null, null]);
      });

      onRedis(() => {
        it('closes a connection immediately when another process publishes a revocation over Redis', async () => {
          const options = { cache: { ttl: '1h', redis: SERVERS.redis } };
          const [app, elsewhere] = [await boot(environment, options), await environment.boot({ options })];
          const { user, token, client, otherClient } = await twoDevices(app);
          for (const [name, { nest }] of Object.entries({ app, elsewhere })) {
            await vi.waitFor(() => expect(nest.get(RemoteChanges)['bus']!.isUp, name).toBe(true), { timeout: 5000 });
          }
          const revokedAt = performance.now();
          await elsewhere.tokens.revoke(user.id, token.deviceId);
          expect(await client.closed).toBe(closedBy);
          expect(performance.now() - revokedAt).toBeLessThan(SOON_MS);
          expect(otherClient.isOpen).toBe(true);
          otherClient.leave();
        });
      });
    },
    ['sqlite'],
  );

  onEveryDatabase(
    (environment) => {
      it('closes a connection when its device logs out', async () => {
        const app = await boot(environment);
        const token = await app.token();
        const client = await connect(app, bearerOf(token));
        await client.ask('whoami');
        await app.post('/auth/logout', undefined, token);
        expect(await client.closed).toBe(closedBy);
      });
    },
    ['postgres'],
  );
});

describe('Open connections', () => {
  onEveryDatabase(
    (environment) => {
      it('are checked a few at a time, so that a user store does not get all queries simultaneously', async () => {
        let [running, total, peak] = [0, 0, 0];
        class Directory {
          async findById(id: string) {
            total++;
            peak = Math.max(peak, ++running);
            await immediate();
            running--;
            return id === 'gone' ? null : { id };
          }
          validateCredentials = () => Promise.resolve(null);
          getId = ({ id }: { id: string }) => id;
        }
        const app = await environment.boot({ options: { users: Directory } });
        const connections = app.nest.get(OpenConnections);
        const closed: string[] = [];
        for (let number = 0; number < 300; number++) {
          const { plainText, token } = await app.tokens.issue(number < 290 ? `user-${number}` : `gone-${number}`);
          const close = () => void closed.push(token.userId);
          connections.watch({ isOpen: true, close, onceClosed: () => undefined }, plainText, token);
        }
        await vi.waitFor(() => expect([total, running]).toEqual([300, 0]));
        await app.dataSource.query("UPDATE auth_token SET user_id = 'gone' WHERE user_id LIKE 'gone-%'");
        peak = 0;
        await connections.checkAll(null);
        expect(peak).toBeGreaterThan(1);
        expect(peak).toBeLessThanOrEqual(100);
        expect(closed).toHaveLength(10);
        expect(connections.size).toBe(290);
      });

      it('do not delay the shutdown of the application, even if a user store hangs', async () => {
        let hangs = false;
        class Hanging {
          findById = (id: string) => (hangs ? new Promise(() => undefined) : Promise.resolve({ id }));
          validateCredentials = () => Promise.resolve(null);
          getId = ({ id }: { id: string }) => id;
        }
        const app = await environment.boot({ options: { users: Hanging, timeout: '300ms', cache: { ttl: '50ms' } } });
        const connections = app.nest.get(OpenConnections);
        const { plainText, token } = await app.tokens.issue('ann');
        const look = vi.spyOn(app.tokens, 'introspect');
        for (let number = 0; number < 1000; number++) {
          connections.watch({ isOpen: true, close: () => undefined, onceClosed: () => undefined }, plainText, token);
        }
        await Promise.all(look.mock.results.map(({ value }) => value as Promise<unknown>));
        hangs = true;
        look.mockClear();
        await vi.waitFor(() => expect(look).toHaveBeenCalled());
        const began = performance.now();
        await app.nest.close();
        // Ten batches of look-ups that each wait for their time limit would take 3 s.
        expect(performance.now() - began).toBeLessThan(2500);
      });
    },
    ['sqlite'],
  );
});

describe('A Socket.IO client with connection state recovery', () => {
  const opts = { connectionStateRecovery: { maxDisconnectionDuration: 1000 } };

  it.each([
    ['lost its connection later', true],
    ['had lost its connection when it was authenticated', false],
  ])('is authenticated again if it %s, for as long as it may recover', (_, connected) => {
    vi.useFakeTimers();
    const client = Object.assign(new EventEmitter(), {
      id: 'ann',
      connected,
      disconnect: () => undefined,
      nsp: Object.assign(new EventEmitter(), { server: { opts } }),
    });
    const seen: object[] = [];
    const clients = new RecoverableClients((restored) => seen.push(restored));
    for (let message = 0; message < 3; message++) clients.remember(client);
    expect(client.listenerCount('disconnect')).toBe(connected ? 1 : 0);
    client.emit('disconnect');
    vi.advanceTimersByTime(999);
    const restored = { id: 'ann', recovered: true };
    client.nsp.emit('connection', restored);
    client.nsp.emit('connection', { id: 'bob', recovered: true });
    client.nsp.emit('connection', { id: 'ann', recovered: false });
    expect(seen).toEqual([restored]);
    vi.advanceTimersByTime(1);
    client.nsp.emit('connection', restored);
    expect(seen).toHaveLength(1);
    vi.useRealTimers();
  });
});

describe('Socket.IO', () => {
  onEveryDatabase(
    (environment) => {
      /** A client in a room whose connection is cut, and that reconnects with recovered state. */
      async function restored(app: TestApp, token: string, whileAway: (socket: Socket) => unknown) {
        const socket = io(app.origin, {
          path: '/rooms',
          transports: ['websocket'],
          forceNew: true,
          auth: { token },
          reconnection: false,
        });
        await nextEvent(socket, 'connect');
        socket.emit('join');
        await nextEvent(socket, 'joined');
        app.nest.get(RoomGateway, { strict: false }).server.to('room').emit('secret', 'before');
        await nextEvent(socket, 'secret');
        const connections = app.nest.get(OpenConnections);
        const closed = nextEvent(socket, 'disconnect');
        socket.io.engine.close();
        await closed;
        await vi.waitFor(() => expect(connections.size).toBe(0));
        await whileAway(socket);
        const [received, ended] = [nextEvent(socket, 'exception'), nextEvent(socket, 'disconnect')];
        const connected = nextEvent(socket, 'connect');
        socket.connect();
        await connected;
        expect(socket.recovered).toBe(true);
        return { socket, connections, received, ended };
      }
      const nextEvent = (socket: Socket, event: string) =>
        new Promise<unknown>((resolve) => socket.once(event, resolve));
      const boot = () => environment.boot({ imports: [RoomModule], options: { isGlobal: true } });
      afterEach(() => environment.closeApplications());

      it('watches a client that recovered its rooms', async () => {
        const app = await boot();
        const { plainText, token } = await app.tokens.issue((await app.createUser()).id);
        const { socket, connections, received, ended } = await restored(app, plainText, () => undefined);
        await vi.waitFor(() => expect(connections.size).toBe(1));
        expect(socket.connected).toBe(true);
        await app.tokens.revoke(token.userId, token.deviceId);
        expect(await received).toMatchObject({ code: 'token_invalid' });
        expect(await ended).toBe('io server disconnect');
      });

      it('closes a recovered client whose token was revoked meanwhile, or that sends no token any more', async () => {
        const app = await boot();
        const { plainText, token } = await app.tokens.issue((await app.createUser()).id);
        const revoked = await restored(app, plainText, () => app.tokens.revoke(token.userId, token.deviceId));
        expect(await revoked.received).toMatchObject({ code: 'token_invalid' });
        expect(await revoked.ended).toBe('io server disconnect');
        const forgetful = await restored(app, await app.token(), (socket) => (socket.auth = {}));
        expect(await forgetful.received).toMatchObject({ code: 'token_missing' });
        expect(await forgetful.ended).toBe('io server disconnect');
      });
    },
    ['sqlite'],
  );

  onEveryDatabase(
    (environment) => {
      let app: TestApp;
      beforeAll(async () => {
        app = await environment.boot({ imports: [NotesModule], options: { isGlobal: true, refresh: {} } });
      });

      it('takes the token from auth.token, because a browser cannot set headers', async () => {
        const user = await app.createUser();
        const { plainText, token } = await app.tokens.issue(user.id);
        const client = await socketIoClient(app, { token: plainText });
        expect(await client.ask('whoami')).toEqual({ user: user.username, deviceId: token.deviceId });
        await app.post('/auth/logout', undefined, plainText);
        expect(await client.closed).toBe('io server disconnect');
      });

      it.each([
        ['nonsense', 'token_invalid'],
        ['', 'token_invalid'],
        [7, 'token_invalid'],
        [{ token: 'x' }, 'token_invalid'],
        [null, 'token_missing'],
      ])('answers auth.token %j with %s', async (token, code) => {
        const client = await socketIoClient(app, { token });
        expect(await client.ask('whoami')).toMatchObject({ code });
        client.leave();
      });

      it('accepts auth.token only alone: not with an Authorization header or a refresh token', async () => {
        const token = await app.token();
        const twice = await socketIoClient(app, { token, ...bearerOf(token) });
        expect(await twice.ask('whoami')).toEqual(
          exception('request_invalid', 'Token in the Authorization header and in auth.token'),
        );
        const both = await socketIoClient(app, { token, refresh: 'x' });
        expect(await both.ask('whoami')).toMatchObject({ code: 'request_invalid' });
        for (const client of [twice, both]) client.leave();
      });
    },
    ['sqlite'],
  );
});

describe('A ws gateway on its own port', () => {
  /** Waits until the gateway listens on its own port, because Nest does not wait for that. */
  const listening = (port: number) =>
    vi.waitFor(async () => {
      const socket = net.connect(port, '127.0.0.1');
      await once(socket, 'connect').finally(() => socket.destroy());
    });

  onEveryDatabase(
    (environment) => {
      it('needs SocketAuthenticator, because nothing else receives the handshake', async () => {
        const [deafPort, hearingPort] = [await freePort(), await freePort()];
        @WebSocketGateway(deafPort)
        @UseGuards(ExpiringTokenGuard)
        @SendExceptions()
        class DeafGateway extends NotesMessages {}
        @WebSocketGateway(hearingPort)
        @UseGuards(ExpiringTokenGuard)
        class HearingGateway extends NotesMessages {
          @Inject(SocketAuthenticator)
          private readonly sockets: SocketAuthenticator;

          async handleConnection(client: object, request: object) {
            await this.sockets.authenticate(client, request);
          }
        }
        @Module({ providers: [DeafGateway, HearingGateway] })
        class PortsModule {}
        const app = await environment.boot({
          imports: [PortsModule],
          configure: (nest) => void nest.useWebSocketAdapter(new WsAdapter(nest)),
          options: { isGlobal: true },
        });
        const token = await app.token();
        const at = (number: number) => new TestApp(app.nest, `http://127.0.0.1:${number}`, app.clock);
        for (const port of [deafPort, hearingPort]) await listening(port);
        const deaf = await wsClient(at(deafPort), bearerOf(token));
        expect(await deaf.ask('whoami')).toMatchObject({ message: 'Internal server error' });
        expect(warnings.join()).toContain('call SocketAuthenticator.authenticate(client, request)');
        const hearing = await wsClient(at(hearingPort), bearerOf(token));
        expect(await hearing.ask('whoami')).toHaveProperty('deviceId');
        await app.post('/auth/logout', undefined, token);
        expect(await hearing.closed).toBe('4401 token_invalid');
        deaf.leave();
      });

      it('closes the connection of a client that does not complete the closing handshake', async () => {
        const app = await environment.boot({
          imports: [NotesModule],
          configure: (nest) => void nest.useWebSocketAdapter(new WsAdapter(nest)),
          options: { isGlobal: true },
        });
        const { plainText, token } = await app.tokens.issue((await app.createUser()).id);
        const socket = net.connect(Number(new URL(app.origin).port), '127.0.0.1');
        socket.write(
          'GET /notes HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
            `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${'A'.repeat(22)}==\r\nAuthorization: Bearer ${plainText}\r\n\r\n`,
        );
        await once(socket, 'data');
        // RFC 6455 §5.2: a final text frame, masked with zeros.
        const message = Buffer.from('{"event":"whoami"}');
        socket.write(Buffer.concat([Buffer.from([0x81, 0x80 | message.length, 0, 0, 0, 0]), message]));
        await once(socket, 'data');
        socket.resume();
        await app.tokens.revoke(token.userId, token.deviceId);
        await once(socket, 'end', { signal: AbortSignal.timeout(2 * AT_ONCE_MS) });
        socket.destroy();
      });

      it('closes a client if the request is not passed on, and does not end the process', async () => {
        const port = await freePort();
        const returned: unknown[] = [];
        @WebSocketGateway(port)
        class ForgetfulGateway implements OnGatewayConnection {
          constructor(private readonly sockets: SocketAuthenticator) {}

          async handleConnection(client: object) {
            returned.push(await this.sockets.authenticate(client));
          }
        }
        @Module({ providers: [ForgetfulGateway] })
        class ForgetfulModule {}
        const app = await environment.boot({
          imports: [ForgetfulModule],
          configure: (nest) => void nest.useWebSocketAdapter(new WsAdapter(nest)),
          options: { isGlobal: true },
        });
        await listening(port);
        const loggedBefore = warnings.length;
        const client = await wsClient(new TestApp(app.nest, `http://127.0.0.1:${port}`, app.clock), {});
        expect(await client.closed).toBe('1013 unavailable');
        expect(returned).toEqual([null]);
        expect(warnings.slice(loggedBefore).join()).toContain('authenticate(client, request) in handleConnection');
      });
    },
    ['sqlite'],
  );
});
