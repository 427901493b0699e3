import { randomUUID } from 'node:crypto';
import { Controller, type ExecutionContext, Get, Injectable, Module, UseGuards } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import {
  type ClientOptions,
  type ClientProxy,
  ClientProxyFactory,
  MessagePattern,
  type MicroserviceOptions,
  Payload,
  Transport,
} from '@nestjs/microservices';
import {
  CurrentToken,
  CurrentUser,
  ExpiringTokenGuard,
  type HttpRequest,
  OptionalToken,
  Public,
  RequireScopes,
  type Token,
  type User,
} from 'nestjs-expiring-token';
import { firstValueFrom } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BootOptions, onOneEnvironment, type TestApp, type TestEnvironment, warnings } from './fixtures/app.js';
import { SERVERS } from './fixtures/databases.js';
import { freePort } from './fixtures/free-port.js';
import { onRedis } from './fixtures/redis.js';

/** Several test runs may share a Redis server, where each message reaches all of them. */
const RUN = randomUUID();

/** The guard of docs/microservices.md: it returns a new object each time. */
@Injectable()
class MessageGuard extends ExpiringTokenGuard {
  protected override getRequest(context: ExecutionContext): HttpRequest {
    if (context.getType() !== 'rpc') return super.getRequest(context);
    const { token } = context.switchToRpc().getData<{ token?: string }>();
    return { headers: token === undefined ? {} : { authorization: `Bearer ${token}` } };
  }
}

@Controller()
@UseGuards(MessageGuard)
class NotesMessages {
  @MessagePattern(`${RUN}.whoami`)
  whoami(@CurrentUser() user: User, @CurrentUser('id') id: string, @CurrentToken('deviceId') deviceId: string) {
    return { username: user.username, id, deviceId };
  }

  @OptionalToken()
  @MessagePattern(`${RUN}.optional`)
  optional(@CurrentUser() user: User | null, @CurrentToken() token: Token | null) {
    return { user: user?.username ?? null, hasToken: token !== null };
  }

  @RequireScopes('notes:read')
  @MessagePattern(`${RUN}.read`)
  read() {
    return 'read';
  }

  @Public()
  @MessagePattern(`${RUN}.public`)
  open(@CurrentUser() user: User | null, @Payload() { text }: { text: string }) {
    return { user, text };
  }

  @Get('whoami')
  overHttp(@CurrentUser('username') username: string) {
    return { username };
  }
}

@Controller()
class UnguardedMessages {
  @MessagePattern(`${RUN}.unguarded`)
  unguarded() {
    return 'open';
  }
}

@Controller()
@UseGuards(ExpiringTokenGuard)
class PlainGuardMessages {
  @MessagePattern(`${RUN}.plain`)
  plain() {
    return 'never';
  }
}

@Module({ providers: [{ provide: APP_GUARD, useClass: MessageGuard }] })
class GlobalMessageGuardModule {}

type TransportOptions = MicroserviceOptions & ClientOptions;

const tcp = async (): Promise<TransportOptions> => ({
  transport: Transport.TCP,
  options: { host: '127.0.0.1', port: await freePort() },
});

const redis = async (): Promise<TransportOptions> => {
  const { hostname, port } = new URL(SERVERS.redis);
  return { transport: Transport.REDIS, options: { host: hostname, port: Number(port) } };
};

/** A hybrid application, and a client of its microservice. */
class Hybrid {
  private constructor(
    readonly app: TestApp,
    private readonly client: ClientProxy,
  ) {}

  static async start(
    environment: TestEnvironment,
    microservice: TransportOptions,
    boot: BootOptions,
    inheritAppConfig: boolean,
  ): Promise<Hybrid> {
    const app = await environment.boot({
      ...boot,
      configure: (nest) => void nest.connectMicroservice(microservice, { inheritAppConfig }),
    });
    await app.nest.startAllMicroservices();
    return new Hybrid(app, ClientProxyFactory.create(microservice));
  }

  /** Sends a message. Returns the answer, or the error as the client gets it. */
  async ask(pattern: string, data: object): Promise<unknown> {
    return firstValueFrom(this.client.send<unknown>(`${RUN}.${pattern}`, data)).catch((error: unknown) => ({ error }));
  }

  async stop(): Promise<void> {
    await this.client.close();
  }
}

const refused = (code: string, message: string) => ({ error: { status: 'error', code, message } });

const MISSING = refused('token_missing', 'Authentication credentials were not provided');

function itAuthenticates(name: string, transport: () => Promise<TransportOptions>) {
  describe(`Messages over ${name}`, () => {
    onOneEnvironment((environment) => {
      let hybrid: Hybrid;
      beforeAll(async () => {
        const controllers = [NotesMessages, PlainGuardMessages];
        hybrid = await Hybrid.start(environment, await transport(), { controllers }, false);
      });
      afterAll(() => hybrid.stop());

      it('are authenticated by a guard that overrides getRequest, whose result the decorators read', async () => {
        const { app } = hybrid;
        const { id, username } = await app.createUser();
        const { plainText, token } = await app.tokens.issue(id);
        expect(await hybrid.ask('whoami', { token: plainText })).toEqual({ username, id, deviceId: token.deviceId });
        expect(await hybrid.ask('optional', { token: plainText })).toEqual({ user: username, hasToken: true });
        expect(await hybrid.ask('optional', {})).toEqual({ user: null, hasToken: false });
        expect(await hybrid.ask('public', { token: plainText, text: 'x' })).toEqual({ user: null, text: 'x' });
        expect((await app.get('/whoami', plainText)).json).toEqual({ username });
      });

      it('are not mixed up if many are sent at the same time', async () => {
        const users = await Promise.all(Array.from({ length: 20 }, () => hybrid.app.createUser()));
        const answers = users.map(async ({ id }) =>
          hybrid.ask('whoami', { token: (await hybrid.app.tokens.issue(id)).plainText }),
        );
        expect((await Promise.all(answers)).map((answer) => (answer as User).id)).toEqual(users.map(({ id }) => id));
      });

      it('are rejected with the code and the message of the error', async () => {
        expect(await hybrid.ask('whoami', {})).toEqual(MISSING);
        for (const [token, code, message] of await hybrid.app.badTokens()) {
          expect(await hybrid.ask('whoami', { token }), code).toEqual(refused(code, message));
          expect(await hybrid.ask('optional', { token }), code).toEqual(refused(code, message));
        }
      });

      it('are rejected if the token lacks a scope', async () => {
        const { id } = await hybrid.app.createUser();
        const ask = async (scopes: string[]) =>
          hybrid.ask('read', { token: (await hybrid.app.tokens.issue(id, { scopes })).plainText });
        expect(await ask(['notes:read'])).toBe('read');
        expect(await ask(['other'])).toEqual(refused('scope_insufficient', 'The token lacks a required scope'));
        expect(await hybrid.ask('read', {})).toEqual(MISSING);
      });

      it('are rejected by a guard that does not override getRequest, and the log says what to do', async () => {
        const before = warnings.length;
        expect(await hybrid.ask('plain', { token: await hybrid.app.token() })).toMatchObject({ error: {} });
        expect(warnings.slice(before).join()).toContain('override getRequest');
      });
    });
  });
}

itAuthenticates('TCP', tcp);

onRedis(() => itAuthenticates('Redis', redis));

describe('A hybrid application with a global guard', () => {
  onOneEnvironment((environment) => {
    it.each([
      [true, MISSING],
      // Nest gives a microservice the global guards of the application only with inheritAppConfig.
      [false, 'open'],
    ])('with inheritAppConfig: %s', async (inheritAppConfig, expected) => {
      const boot = {
        controllers: [UnguardedMessages],
        imports: [GlobalMessageGuardModule],
        options: { isGlobal: true },
      };
      const hybrid = await Hybrid.start(environment, await tcp(), boot, inheritAppConfig);
      expect(await hybrid.ask('unguarded', {})).toEqual(expected);
      await hybrid.stop();
    });

    it('of globalGuard rejects every message without getRequest, with inheritAppConfig', async () => {
      const boot = { controllers: [UnguardedMessages], options: { globalGuard: true } };
      const hybrid = await Hybrid.start(environment, await tcp(), boot, true);
      expect(await hybrid.ask('unguarded', { token: await hybrid.app.token() })).toMatchObject({ error: {} });
      await hybrid.stop();
    });
  });
});
