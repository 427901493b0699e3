import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { Controller, Get, Module, Req, Res, UseGuards } from '@nestjs/common';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import {
  Field,
  GraphQLModule,
  ID,
  Mutation,
  ObjectType,
  Parent,
  Query,
  ResolveField,
  Resolver,
  Subscription,
} from '@nestjs/graphql';
import { MercuriusDriver, type MercuriusDriverConfig } from '@nestjs/mercurius';
import { type Client, createClient } from 'graphql-ws';
import {
  CurrentToken,
  CurrentUser,
  type ExpiringTokenModuleOptions,
  ExpiringTokenGuard,
  OptionalToken,
  PersonalTokenService,
  Public,
  RequireLogin,
  RequireAnyScope,
  RequireScopes,
  type Token,
  type User,
} from 'nestjs-expiring-token';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import { OpenConnections } from '../lib/transports/open-connections.js';
import { warnings, onEveryEnvironment, TestClock, type TestApp } from './fixtures/app.js';
import { bearer } from './fixtures/http.js';
import { Statements } from './fixtures/statements.js';

@ObjectType()
class Note {
  @Field(() => ID)
  id: string;

  @Field()
  owner: string;
}

/** What a subscription yields: one note immediately, and a second one when it ends. */
async function* notes(field = 'noted', owner = 'first'): AsyncGenerator<Record<string, Note>> {
  yield { [field]: { id: '1', owner } };
  await new Promise(() => undefined);
}

@Resolver(() => Note)
@UseGuards(ExpiringTokenGuard)
class NotesResolver {
  @Query(() => Note)
  note(@CurrentUser() user: User, @CurrentToken() token: Token): Note {
    return { id: token.deviceId, owner: user.username };
  }

  @Mutation(() => Note)
  addNote(@CurrentUser() user: User): Note {
    return { id: '2', owner: user.username };
  }

  @ResolveField(() => String, { nullable: true })
  secret(@Parent() note: Note, @CurrentUser() user: User | null): string {
    return `${note.id} of ${user?.username ?? 'nobody'}`;
  }

  @OptionalToken()
  @Query(() => String)
  greeting(@CurrentUser() user: User | null): string {
    return `hello ${user?.username ?? 'stranger'}`;
  }

  @RequireLogin()
  @Query(() => String, { nullable: true })
  account(@CurrentUser() user: User): string {
    return user.username;
  }

  @Public()
  @Query(() => Note)
  welcome(): Note {
    return { id: '0', owner: 'everybody' };
  }

  @Subscription(() => Note)
  noted(@CurrentUser() _user: User) {
    return notes();
  }

  @OptionalToken()
  @Subscription(() => Note)
  overheard(@CurrentUser() user: User | null) {
    return notes('overheard', user?.username ?? 'nobody');
  }

  @Public()
  @Subscription(() => Note)
  announced(@CurrentUser() user: User | null) {
    return notes('announced', user?.username ?? 'nobody');
  }
}

@Module({ providers: [NotesResolver] })
class NotesModule {}

@Resolver(() => Note)
@UseGuards(ExpiringTokenGuard)
class ScopedResolver {
  @RequireAnyScope('notes:read', 'notes:write')
  @Query(() => Note)
  read(): Note {
    return { id: '1', owner: 'me' };
  }

  @RequireScopes('notes:write')
  @Mutation(() => Note)
  write(): Note {
    return { id: '2', owner: 'me' };
  }

  @RequireScopes('notes:secret')
  @ResolveField(() => String, { nullable: true })
  secret(): string {
    return 'a secret';
  }

  @RequireScopes('notes:read')
  @Subscription(() => Note)
  noted() {
    return notes();
  }
}

@Module({ providers: [ScopedResolver] })
class ScopedModule {}

/** A gateway or resolver without a guard of its own. */
@Resolver()
class BareResolver {
  @Query(() => String)
  me(@CurrentUser() user: User): string {
    return user.username;
  }

  @Public()
  @Query(() => String)
  open(): string {
    return 'open';
  }
}

@Module({ providers: [BareResolver] })
class BareModule {}

const COMMON = { autoSchemaFile: true, fieldResolverEnhancers: ['guards'] } as const;

const DRIVERS = [
  {
    driver: 'Apollo',
    adapter: 'express',
    module: () =>
      GraphQLModule.forRoot<ApolloDriverConfig>({
        driver: ApolloDriver,
        ...COMMON,
        fieldResolverEnhancers: ['guards'],
        graphiql: false,
        subscriptions: { 'graphql-ws': true },
      }),
  },
  {
    driver: 'Mercurius',
    adapter: 'fastify',
    module: () =>
      GraphQLModule.forRoot<MercuriusDriverConfig>({
        driver: MercuriusDriver,
        ...COMMON,
        fieldResolverEnhancers: ['guards'],
        subscription: true,
      }),
  },
] as const;

interface Refusal {
  message: string;
  extensions: { code: string };
}

describe.each(DRIVERS)('GraphQL with $driver', ({ module, adapter }) => {
  onEveryEnvironment(
    (environment) => {
      let app: TestApp;
      const boot = async (
        options: ExpiringTokenModuleOptions = {},
        resolvers = NotesModule,
        clock = new TestClock(),
      ) => {
        app = await environment.boot({
          imports: [module(), resolvers],
          options: { isGlobal: true, ...options },
          clock,
        });
        return app;
      };
      afterEach(() => environment.closeApplications());

      const ask = (query: string, token?: string) =>
        app.send('/graphql', { method: 'POST', body: { query }, headers: token ? bearer(token) : [] });

      const refusalOf = ({ json }: Awaited<ReturnType<typeof ask>>) =>
        (json.errors as Refusal[]).map(({ message, extensions: { code } }) => ({ message, code }));

      it('authenticates queries, mutations and field resolvers by the token of the request', async () => {
        await boot();
        const user = await app.createUser();
        const { plainText, token } = await app.tokens.issue(user.id);
        const { json } = await ask('{ note { id owner secret } greeting welcome { owner } }', plainText);
        expect(json).toEqual({
          data: {
            note: { id: token.deviceId, owner: user.username, secret: `${token.deviceId} of ${user.username}` },
            greeting: `hello ${user.username}`,
            welcome: { owner: 'everybody' },
          },
        });
        expect((await ask('mutation { addNote { owner } }', plainText)).json).toEqual({
          data: { addNote: { owner: user.username } },
        });
      });

      it('rejects a personal token where @RequireLogin() says so, and nowhere else', async () => {
        await boot({ personal: true });
        const { id, username } = await app.createUser();
        const personal = await app.nest.get(PersonalTokenService).issue(id, { name: 'script' });
        const login = await app.tokens.issue(id);
        // The first field of a request authenticates it for both.
        const query = '{ greeting account }';
        const greeting = `hello ${username}`;
        expect((await ask(query, login.plainText)).json).toEqual({ data: { greeting, account: username } });
        const answer = await ask(query, personal.plainText);
        expect(answer.json.data).toEqual({ greeting, account: null });
        const refusal = { message: 'A personal token is not accepted here', code: 'login_required' };
        expect(refusalOf(answer)).toEqual([refusal]);
        expect(answer.headers).not.toHaveProperty('www-authenticate');
        expect(refusalOf(await ask('{ account }', personal.plainText))).toEqual([refusal]);
      });

      it('rejects with GraphQL errors that have the code, and with the challenge header', async () => {
        await boot();
        const missing = [undefined, 'token_missing', 'Authentication credentials were not provided'] as const;
        for (const [token, code, message] of [missing, ...(await app.badTokens())]) {
          for (const query of ['{ note { owner } }', 'mutation { addNote { owner } }']) {
            const answer = await ask(query, token);
            expect(refusalOf(answer), `${code}, ${query}`).toEqual([{ message, code }]);
            expect(answer.status, `${code}, ${query}`).toBe(200);
            expect(answer.headers['www-authenticate'], `${code}, ${query}`).toBe(
              token
                ? `Bearer realm="api", error="invalid_token", error_description="${message}"`
                : 'Bearer realm="api"',
            );
          }
        }
        const twice = await app.send('/graphql', {
          method: 'POST',
          body: { query: '{ greeting }' },
          headers: [...bearer('x'), ...bearer('y')],
        });
        expect(refusalOf(twice)).toEqual([{ message: 'More than one Authorization header', code: 'request_invalid' }]);
      });

      it('checks the scopes of queries, mutations and fields, each for itself', async () => {
        await boot({ scopes: ['notes:read', 'notes:write', 'notes:secret'] }, ScopedModule);
        const { id } = await app.createUser();
        const tokenWith = async (...scopes: string[]) => (await app.tokens.issue(id, { scopes })).plainText;
        const reader = await tokenWith('notes:read');
        const refusal = [{ message: 'The token lacks a required scope', code: 'scope_insufficient' }];
        expect((await ask('{ read { owner } }', reader)).json).toEqual({ data: { read: { owner: 'me' } } });
        const mutation = await ask('mutation { write { owner } }', reader);
        expect(refusalOf(mutation)).toEqual(refusal);
        expect(mutation.headers['www-authenticate']).toBe(
          'Bearer realm="api", error="insufficient_scope", scope="notes:write"',
        );
        const field = await ask('{ read { owner secret } }', reader);
        expect(refusalOf(field)).toEqual(refusal);
        expect(field.json.data).toEqual({ read: { owner: 'me', secret: null } });
        const both = await ask('{ read { secret } }', await tokenWith('notes:read', 'notes:secret'));
        expect(both.json).toEqual({ data: { read: { secret: 'a secret' } } });
        expect(refusalOf(await ask('{ read { owner } }'))).toMatchObject([{ code: 'token_missing' }]);
      });

      it('serves optional and public fields without a token, but not their guarded fields', async () => {
        await boot();
        expect((await ask('{ greeting welcome { owner } }')).json).toEqual({
          data: { greeting: 'hello stranger', welcome: { owner: 'everybody' } },
        });
        const answer = await ask('{ welcome { owner secret } }');
        expect(answer.json.data).toEqual({ welcome: { owner: 'everybody', secret: null } });
        expect(refusalOf(answer)).toMatchObject([{ code: 'token_missing' }]);
        expect(refusalOf(await ask('{ greeting }', 'nonsense'))).toMatchObject([{ code: 'token_invalid' }]);
      });

      it('reports an outage as such, and looks the token up once for an operation', async () => {
        await boot();
        const token = await app.token();
        const statements = await Statements.of(app.dataSource);
        statements.take();
        await ask('{ a: note { secret } b: note { secret } c: greeting }', token);
        expect(statements.take().filter(({ sql }) => sql.startsWith('SELECT'))).toHaveLength(1);
        statements.close();
        await app.dataSource.query('ALTER TABLE auth_token RENAME TO away');
        const answer = await ask('{ note { owner } }', token);
        await app.dataSource.query('ALTER TABLE away RENAME TO auth_token');
        expect(refusalOf(answer)).toEqual([
          { message: 'Authentication is temporarily unavailable', code: 'unavailable' },
        ]);
        expect(answer.headers['retry-after']).toBe('1');
      });

      it('is protected by the option globalGuard', async () => {
        await boot({ globalGuard: true }, BareModule);
        const user = await app.createUser();
        expect(refusalOf(await ask('{ me }'))).toMatchObject([{ code: 'token_missing' }]);
        expect((await ask('{ open }')).json).toEqual({ data: { open: 'open' } });
        expect((await ask('{ me }', await app.token(user.id))).json).toEqual({ data: { me: user.username } });
      });

      describe('A subscription over graphql-ws', () => {
        const clients: Client[] = [];
        afterEach(() => clients.splice(0).map((client) => client.dispose()));

        /** A client that does not reconnect. */
        function connect(connectionParams?: Record<string, unknown>, headers: Record<string, string> = {}): Client {
          class WithHeaders extends WebSocket {
            constructor(url: string, protocols: string[]) {
              super(url, protocols, { headers });
            }
          }
          const url = `${app.origin.replace('http', 'ws')}/graphql`;
          const client = createClient({
            url,
            webSocketImpl: WithHeaders,
            connectionParams,
            retryAttempts: 0,
            lazy: true,
          });
          clients.push(client);
          return client;
        }

        const subscribe = (client: Client) =>
          client.iterate<{ noted: Note }>({ query: 'subscription { noted { owner secret } }' });

        /** How a rejected subscription ends: Apollo's driver returns errors, Mercurius completes with errors. */
        const refused = async (client: Client) => {
          const errors = await subscribe(client)
            .next()
            .then(
              ({ value }) => value.errors as Refusal[],
              (thrown: Refusal[]) => thrown,
            );
          return errors.map(({ message, extensions: { code } }) => ({ message, code }));
        };

        const closed = (subscription: ReturnType<typeof subscribe>): Promise<{ code: number; reason: string }> =>
          subscription.next().then(
            (value) => {
              throw new Error(`not closed: ${JSON.stringify(value)}`);
            },
            ({ code, reason }) => ({ code, reason }),
          );

        it('takes the token from the connection parameters or from the headers of the upgrade request', async () => {
          await boot();
          const user = await app.createUser();
          const token = await app.token(user.id);
          const authorization = `Bearer ${token}`;
          for (const [index, client] of [
            connect({ Authorization: authorization }),
            connect({ authorization }),
            connect({ auth: { token } }),
            connect({ token }),
            connect(undefined, { Authorization: authorization }),
          ].entries()) {
            const { value } = await subscribe(client).next();
            expect(value, `client ${index}`).toEqual({
              data: { noted: { owner: 'first', secret: `1 of ${user.username}` } },
            });
          }
        });

        it('is rejected with errors in the form of the protocol', async () => {
          await boot();
          const expired = await app.tokens.issue((await app.createUser()).id, { lifespan: 1 });
          app.clock.advance(1);
          const authorization = `Bearer ${await app.token()}`;
          for (const [client, code, message] of [
            [connect(), 'token_missing', 'Authentication credentials were not provided'],
            [connect({ Authorization: 'Bearer nonsense' }), 'token_invalid', 'Invalid token'],
            [connect({ token: expired.plainText }), 'token_expired', 'Token has expired'],
            [
              connect({ authorization }, { Authorization: authorization }),
              'request_invalid',
              'More than one Authorization header',
            ],
          ] as const) {
            expect(await refused(client), code).toEqual([{ message, code }]);
          }
        });

        it('is closed immediately when its token is revoked, and no other is', async () => {
          await boot();
          const user = await app.createUser();
          const [first, second] = [await app.token(user.id), await app.token(user.id)];
          const [ending, staying] = [subscribe(connect({ token: first })), subscribe(connect({ token: second }))];
          for (const subscription of [ending, staying]) await subscription.next();
          await app.post('/auth/logout', undefined, first);
          const endedAt = performance.now();
          expect(await closed(ending)).toEqual({ code: 4401, reason: 'token_invalid' });
          // Too early for the periodic check of open connections.
          expect(performance.now() - endedAt).toBeLessThan(2000);
          expect(app.nest.get(OpenConnections).size).toBe(1);
          await app.users.setActive(user.id, false);
          expect(await closed(staying)).toEqual({ code: 4401, reason: 'user_inactive' });
        });

        it('is closed when its token expires', async () => {
          await boot({}, NotesModule, Object.defineProperty(new TestClock(), 'now', { get: Date.now }));
          const { plainText, token } = await app.tokens.issue((await app.createUser()).id, { lifespan: 500 });
          const subscription = subscribe(connect({ token: plainText }));
          await subscription.next();
          expect(await closed(subscription)).toEqual({ code: 4401, reason: 'token_expired' });
          expect(Date.now() - token.created.getTime()).toBeLessThan(500 + 2000);
        });

        it('is closed within cache.ttl when another process revoked its token', async () => {
          await boot({ cache: { ttl: '300ms' } });
          const user = await app.createUser();
          const subscription = subscribe(connect({ token: await app.token(user.id) }));
          await subscription.next();
          const elsewhere = await environment.boot();
          await elsewhere.tokens.revokeAll(user.id);
          expect(await closed(subscription)).toEqual({ code: 4401, reason: 'token_invalid' });
        });

        it('is not watched any more after its client disconnected', async () => {
          await boot();
          const client = connect({ token: await app.token() });
          await subscribe(client).next();
          expect(app.nest.get(OpenConnections).size).toBe(1);
          await client.dispose();
          await vi.waitFor(() => expect(app.nest.get(OpenConnections).size).toBe(0));
        });
      });
    },
    { databases: ['sqlite'], adapters: [adapter] },
  );
});

describe('A Mercurius connection', () => {
  const { module } = DRIVERS[1];

  /** A client that speaks only the protocol, and can send its connection parameters again. */
  async function rawClient(app: TestApp) {
    const socket = new WebSocket(`${app.origin.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
    await once(socket, 'open');
    const ask = async (message: object) => {
      const answered = once(socket, 'message');
      socket.send(JSON.stringify(message));
      const [text] = await answered;
      return JSON.parse(String(text));
    };
    let subscriptions = 0;
    return {
      socket,
      init: (payload: object) => ask({ type: 'connection_init', payload }),
      /** The owner of the first note. */
      subscribe: async () =>
        (
          await ask({
            type: 'subscribe',
            id: String(++subscriptions),
            payload: { query: 'subscription { noted { secret } }' },
          })
        ).payload,
    };
  }

  onEveryEnvironment(
    (environment) => {
      afterEach(() => environment.closeApplications());

      it('authenticates by its last parameters, watches each token once, and ends with any of them', async () => {
        const app = await environment.boot({ imports: [module(), NotesModule], options: { isGlobal: true } });
        const [ann, bob] = [await app.createUser(), await app.createUser()];
        const [ofAnn, ofBob] = [await app.token(ann.id), await app.token(bob.id)];
        const client = await rawClient(app);
        for (const [payload, user] of [
          [{ authorization: `Bearer ${ofAnn}` }, ann],
          [{ authorization: `Bearer ${ofBob}` }, bob],
          [{ headers: { authorization: `Bearer ${ofAnn}` } }, ann],
          [{ token: ofBob }, bob],
          [{ authorization: `Bearer ${ofAnn}` }, ann],
        ] as const) {
          expect(await client.init(payload), Object.keys(payload).join()).toEqual({ type: 'connection_ack' });
          expect(await client.subscribe(), Object.keys(payload).join()).toEqual({
            data: { noted: { secret: `1 of ${user.username}` } },
          });
        }
        expect(app.nest.get(OpenConnections).size).toBe(2);
        const ended = once(client.socket, 'close');
        await app.post('/auth/logout', undefined, ofBob);
        const [code, reason] = await ended;
        expect([code, String(reason)]).toEqual([4401, 'token_invalid']);
        await vi.waitFor(() => expect(app.nest.get(OpenConnections).size).toBe(0));
      });

      it.each([[123], [['Bearer x']], [{}]])(
        'finds no token in connection parameters with authorization: %j',
        async (authorization) => {
          const app = await environment.boot({ imports: [module(), NotesModule], options: { isGlobal: true } });
          const client = await rawClient(app);
          await client.init({ authorization });
          const [{ extensions }] = await client.subscribe();
          expect(extensions.code).toBe('token_missing');
          client.socket.close();
        },
      );
    },
    { databases: ['sqlite'], adapters: ['fastify'] },
  );
});

describe("A context that the application builds from Apollo's context", () => {
  interface Given {
    req?: object;
    extra?: { request: object };
    connectionParams?: object;
  }
  const contexts: [form: string, context: (value: Given) => object, closed: object][] = [
    ['whole', (value) => value, { code: 4401 }],
    ['in parts', ({ req, extra, connectionParams }) => ({ req, extra, connectionParams }), { code: 4401 }],
    // No public property leads to the WebSocket, so the underlying socket is destroyed without a closing handshake.
    [
      'by the request',
      ({ req, extra, connectionParams }) => ({ req: req ?? extra!.request, connectionParams }),
      { code: 1006 },
    ],
  ];

  onEveryEnvironment(
    (environment) => {
      afterEach(() => environment.closeApplications());

      it.each(contexts)(
        'that contains %s leads to the token and to the connection to close',
        async (_, context, closing) => {
          const module = GraphQLModule.forRoot<ApolloDriverConfig>({
            driver: ApolloDriver,
            autoSchemaFile: true,
            graphiql: false,
            subscriptions: { 'graphql-ws': true },
            context,
          });
          const app = await environment.boot({ imports: [module, NotesModule], options: { isGlobal: true } });
          const token = await app.token();
          const query = { query: '{ greeting }' };
          const answer = await app.send('/graphql', { method: 'POST', body: query, headers: bearer(token) });
          expect(answer.json.data.greeting).toMatch(/^hello user-/);
          const client = createClient({
            url: `${app.origin.replace('http', 'ws')}/graphql`,
            webSocketImpl: WebSocket,
            connectionParams: { token },
            retryAttempts: 0,
          });
          const subscription = client.iterate({ query: 'subscription { noted { owner } }' });
          expect((await subscription.next()).value).toEqual({ data: { noted: { owner: 'first' } } });
          await app.post('/auth/logout', undefined, token);
          await expect(subscription.next()).rejects.toMatchObject(closing);
          await client.dispose();
        },
      );

      it('that hides the connection of a subscription starts none, and the log names the reason', async () => {
        const module = GraphQLModule.forRoot<ApolloDriverConfig>({
          driver: ApolloDriver,
          autoSchemaFile: true,
          graphiql: false,
          subscriptions: { 'graphql-ws': true },
          context: ({ req, connectionParams: headers }: Given) => ({ req: headers ? { headers } : req }),
        });
        const app = await environment.boot({ imports: [module, NotesModule], options: { isGlobal: true } });
        const connect = (connectionParams: Record<string, string>): Client =>
          createClient({
            url: `${app.origin.replace('http', 'ws')}/graphql`,
            webSocketImpl: WebSocket,
            connectionParams,
            retryAttempts: 0,
          });
        const client = connect({ authorization: `Bearer ${await app.token()}` });
        const loggedBefore = warnings.length;
        const query = client.iterate({ query: '{ greeting }' });
        expect((await query.next()).value).toMatchObject({ data: { greeting: expect.stringMatching(/^hello user-/) } });
        const first = async (of: Client, field: string) =>
          (await of.iterate({ query: `subscription { ${field} { owner } }` }).next()).value;
        expect(await first(client, 'noted')).toMatchObject({ errors: [{}] });
        expect(warnings.slice(loggedBefore).join()).toContain('Return { req, extra, connectionParams }');
        // There is no connection that could end with the token.
        const stranger = connect({});
        expect(await first(stranger, 'overheard')).toEqual({ data: { overheard: { owner: 'nobody' } } });
        expect(await first(client, 'announced')).toEqual({ data: { announced: { owner: 'nobody' } } });
        for (const one of [client, stranger]) await one.dispose();
      });
    },
    { databases: ['sqlite'], adapters: ['express'] },
  );
});

/** Like a driver that sends subscriptions as a stream over HTTP. */
@Controller('stream')
class StreamController {
  constructor(private readonly guard: ExpiringTokenGuard) {}

  @Get()
  async stream(@Req() req: object, @Res() res: ServerResponse & { raw?: ServerResponse }) {
    const info = { operation: { operation: 'subscription' } };
    const context = new ExecutionContextHost([null, {}, { req }, info], NotesResolver, () => undefined);
    context.setType('graphql');
    await this.guard.canActivate(context);
    (res.raw ?? res).write('first');
  }
}

describe('A subscription as a stream over HTTP', () => {
  onEveryEnvironment(
    (environment) => {
      it('ends when its token is revoked', async () => {
        const app = await environment.boot({ controllers: [StreamController] });
        const token = await app.token();
        const answer = await fetch(`${app.origin}/stream`, { headers: { Authorization: `Bearer ${token}` } });
        const reader = answer.body!.getReader();
        expect(new TextDecoder().decode((await reader.read()).value)).toBe('first');
        await app.post('/auth/logout', undefined, token);
        await expect(reader.read()).rejects.toThrow('terminated');
      });
    },
    { databases: ['sqlite'] },
  );
});
