import {
  BadRequestException,
  type CanActivate,
  Controller,
  type ExecutionContext,
  Get,
  Global,
  Injectable,
  Module,
  type PipeTransform,
  UseGuards,
} from '@nestjs/common';
import { APP_PIPE } from '@nestjs/core';
import { AuthGuard } from '@nestjs/passport';
import { getRepositoryToken } from '@nestjs/typeorm';
import {
  CurrentToken,
  CurrentUser,
  ExpiringTokenGuard,
  ExpiringTokenModule,
  ExpiringTokenOptionsError,
  ExpiringTokenService,
  OptionalToken,
  Public,
  Token,
  User,
} from 'nestjs-expiring-token';
import { actingAs } from 'nestjs-expiring-token/testing';
import passport, { type Strategy } from 'passport';
import { beforeAll, describe, expect, it } from 'vitest';
import { generateToken } from '../lib/tokens/secret/token-secret.js';
import { uuidV7 } from '../lib/database/uuid-v7.js';
import { onEveryEnvironment, TestEnvironment, type TestApp } from './fixtures/app.js';
import { bearer } from './fixtures/http.js';
import { isOlder } from './fixtures/versions.js';

const refusal = (statusCode: number, code: string, message: string, error = 'Unauthorized') => ({
  statusCode,
  error,
  message,
  code,
});

/** The guard and the Passport strategy share one authenticator. Passport drops response bodies and challenges. */
const ENTRIES = [
  { entry: 'ExpiringTokenGuard', path: '/me', sendsChallenge: true },
  { entry: "AuthGuard('expiring-token')", path: '/passport', sendsChallenge: false },
];

describe.each(ENTRIES)('$entry', ({ path, sendsChallenge }) => {
  onEveryEnvironment((environment) => {
    let app: TestApp;
    beforeAll(async () => {
      app = await environment.boot();
    });

    /** Asserts a rejection: the status for both, the response bytes for the guard, which keeps them. */
    async function expectRefusal(
      token: string | undefined,
      body: ReturnType<typeof refusal>,
      challenge: string,
      label = challenge,
    ) {
      const { status, json, headers } = await app.get(path, token);
      expect(status, label).toBe(body.statusCode);
      if (sendsChallenge)
        expect({ json, challenge: headers['www-authenticate'] }, label).toEqual({ json: body, challenge });
    }

    it('accepts a valid token of an active user', async () => {
      const user = await app.createUser();
      const { plainText, token } = await app.tokens.issue(user.id, { name: 'cli' });
      const { status, json, headers } = await app.get(path, plainText);
      expect(status).toBe(200);
      expect(headers['www-authenticate']).toBeUndefined();
      if (!sendsChallenge) return expect(json).toEqual({ id: user.id, deviceId: token.deviceId });
      expect(json).toEqual({
        user: { id: user.id, username: user.username, active: true },
        token: {
          id: token.id,
          userId: user.id,
          deviceId: token.deviceId,
          purpose: 'access',
          name: 'cli',
          userAgent: null,
          created: new Date(app.clock.now).toISOString(),
          lifespan: null,
          lastUsedAt: null,
          scopes: null,
          authenticatedAt: null,
          address: null,
          actorId: null,
        },
      });
    });

    it('rejects a request without a token with a challenge', async () => {
      await expectRefusal(
        undefined,
        refusal(401, 'token_missing', 'Authentication credentials were not provided'),
        'Bearer realm="api"',
      );
    });

    it('rejects unknown, revoked and malformed tokens with the same response', async () => {
      const user = await app.createUser();
      const revoked = await app.tokens.issue(user.id);
      await app.tokens.revoke(user.id, revoked.token.deviceId);
      const unknown = generateToken('ext_', uuidV7(app.clock.now));
      for (const [name, token] of Object.entries({
        revoked: revoked.plainText,
        unknown,
        malformed: 'ext_nonsense',
        'too long': `${revoked.plainText}x`,
      })) {
        await expectRefusal(
          token,
          refusal(401, 'token_invalid', 'Invalid token'),
          'Bearer realm="api", error="invalid_token", error_description="Invalid token"',
          name,
        );
      }
    });

    it('rejects an expired token as expired, from the exact millisecond on', async () => {
      const user = await app.createUser();
      const { plainText } = await app.tokens.issue(user.id, { lifespan: 5000 });
      app.clock.advance(4999);
      expect((await app.get(path, plainText)).status).toBe(200);
      app.clock.advance(1);
      await expectRefusal(
        plainText,
        refusal(401, 'token_expired', 'Token has expired'),
        'Bearer realm="api", error="invalid_token", error_description="Token has expired"',
      );
    });

    it('rejects inactive and deleted users, whether the token is expired or not', async () => {
      const [inactive, deleted] = [await app.createUser(), await app.createUser()];
      const tokens = [];
      for (const { id } of [inactive, deleted]) {
        tokens.push((await app.tokens.issue(id)).plainText, (await app.tokens.issue(id, { lifespan: 1 })).plainText);
      }
      app.clock.advance(1);
      await app.users.setActive(inactive.id, false);
      await app.dataSource.getRepository('auth_user').delete({ id: deleted.id });
      for (const [index, token] of tokens.entries()) {
        await expectRefusal(
          token,
          refusal(401, 'user_inactive', 'User inactive or deleted'),
          'Bearer realm="api", error="invalid_token", error_description="User inactive or deleted"',
          `token ${index}`,
        );
      }
      await app.users.setActive(inactive.id, true);
      expect((await app.get(path, tokens[0])).status).toBe(200);
    });

    it('rejects a request with two tokens', async () => {
      const token = await app.token();
      const body = (message: string) => refusal(400, 'request_invalid', message, 'Bad Request');
      const twice = await app.send(path, { headers: [...bearer(token), ...bearer(token)] });
      const query = await app.send(`${path}?access_token=${token}`, { headers: bearer(token) });
      const answers = [
        [twice, 'More than one Authorization header'],
        [query, 'Token in the Authorization header and in the query'],
      ] as const;
      for (const [{ status, json, headers }, message] of answers) {
        expect(status, message).toBe(400);
        if (!sendsChallenge) continue;
        expect(json, message).toEqual(body(message));
        expect(headers['www-authenticate'], message).toBe(
          `Bearer realm="api", error="invalid_request", error_description="${message}"`,
        );
      }
    });

    it('rejects an expired token with expiredStatus, and keeps the challenge', async () => {
      app = await environment.boot({ options: { expiredStatus: 400 } });
      const { plainText } = await app.tokens.issue((await app.createUser()).id, { lifespan: 1 });
      app.clock.advance(1);
      await expectRefusal(
        plainText,
        refusal(400, 'token_expired', 'Token has expired', 'Bad Request'),
        'Bearer realm="api", error="invalid_token", error_description="Token has expired"',
      );
    });

    it('accepts the configured schemes, and challenges with the configured realm', async () => {
      app = await environment.boot({ options: { schemes: ['Bearer', 'Token'], realm: 'notes (v1)' } });
      const token = await app.token();
      for (const scheme of ['Bearer', 'Token', 'token', 'BEARER']) {
        expect((await app.send(path, { headers: [['Authorization', `${scheme} ${token}`]] })).status, scheme).toBe(200);
      }
      const other = await app.send(path, { headers: [['Authorization', `Basic ${token}`]] });
      expect(other.status).toBe(401);
      if (sendsChallenge) expect(other.headers['www-authenticate']).toBe('Bearer realm="notes (v1)"');
    });

    it('says in every challenge where the metadata of the resource is, if the option resourceMetadata is set', async () => {
      const resourceMetadata = 'https://api.example.com/.well-known/oauth-protected-resource';
      app = await environment.boot({ options: { resourceMetadata } });
      const challenge = `Bearer realm="api", resource_metadata="${resourceMetadata}"`;
      const missing = await app.get(path);
      const invalid = await app.get(path, 'nonsense');
      const login = await app.login('nobody');
      expect([missing.status, invalid.status, login.status]).toEqual([401, 401, 401]);
      expect(login.headers['www-authenticate']).toBe(challenge);
      if (!sendsChallenge) return;
      expect(missing.headers['www-authenticate']).toBe(challenge);
      expect(invalid.headers['www-authenticate']).toBe(
        `${challenge}, error="invalid_token", error_description="Invalid token"`,
      );
    });
  });
});

describe('A changed lifespan', () => {
  onEveryEnvironment((environment) => {
    it('applies to tokens already issued, but not to those with their own lifespan', async () => {
      const month = await environment.boot({ options: '30d' });
      const user = await month.createUser();
      const plain = await month.token(user.id);
      const own = (await month.tokens.issue(user.id, { lifespan: '10d' })).plainText;
      const never = (await month.tokens.issue(user.id, { lifespan: null })).plainText;
      const hour = await environment.boot({ options: '1h', clock: month.clock });
      month.clock.advance(2 * 60 * 60 * 1000);
      expect((await hour.get('/me', plain)).json.code).toBe('token_expired');
      expect((await month.get('/me', plain)).status).toBe(200);
      expect((await hour.get('/me', own)).status).toBe(200);
      month.clock.advance(10 * 24 * 60 * 60 * 1000);
      expect((await hour.get('/me', own)).json.code).toBe('token_expired');
      expect((await hour.get('/me', never)).status).toBe(200);
      expect((await hour.get('/auth/token', never)).json.expiresAt).toBeNull();
    });
  });
});

class UserIdPipe implements PipeTransform<User | null> {
  transform(user: User | null) {
    return { piped: user?.id ?? null };
  }
}

describe('The decorators', () => {
  onEveryEnvironment((environment) => {
    it('@Public() needs no token, and @OptionalToken() a valid token or none', async () => {
      const app = await environment.boot();
      const user = await app.createUser();
      const token = await app.token(user.id);
      expect((await app.get('/public')).status).toBe(200);
      expect((await app.get('/public', 'nonsense')).status).toBe(200);
      expect((await app.get('/optional')).json).toEqual({ id: null });
      expect((await app.get('/optional', token)).json).toEqual({ id: user.id });
      expect((await app.get('/optional', 'nonsense')).json.code).toBe('token_invalid');
      const basic = await app.send('/optional', { headers: [['Authorization', 'Basic eDp5']] });
      expect(basic.json).toEqual({ id: null });
    });

    it('@CurrentUser() and @CurrentToken() give one property, also through a pipe', async () => {
      @Injectable()
      class UpperCasePipe implements PipeTransform<string | null> {
        transform(value: string | null) {
          return value?.toUpperCase() ?? 'NOBODY';
        }
      }

      @Controller('properties')
      @OptionalToken()
      @UseGuards(ExpiringTokenGuard)
      class PropertiesController {
        @Get()
        get(
          @CurrentUser('id') id: string | null,
          @CurrentUser<User>('username', UpperCasePipe) name: string,
          @CurrentUser(new UserIdPipe()) user: object,
          @CurrentToken('deviceId') deviceId: string | null,
          @CurrentUser('unknown') unknown: unknown,
        ) {
          return { id, name, user, deviceId, unknown };
        }

        // @ts-expect-error: users do not have this property
        typo(@CurrentUser<User>('nmae') name: string) {
          return name;
        }

        // @ts-expect-error: tokens do not have this property
        typoOfToken(@CurrentToken('device') id: string) {
          return id;
        }
      }
      const app = await environment.boot({ controllers: [PropertiesController] });
      const { id, username } = await app.createUser();
      const { plainText, token } = await app.tokens.issue(id);
      const { json } = await app.get('/properties', plainText);
      expect(json).toEqual({
        id,
        name: username.toUpperCase(),
        user: { piped: id },
        deviceId: token.deviceId,
        unknown: null,
      });
      expect((await app.get('/properties')).json).toEqual({
        id: null,
        name: 'NOBODY',
        user: { piped: null },
        deviceId: null,
        unknown: null,
      });
    });

    it('exempt routes from globalGuard, which otherwise protects every route but the login', async () => {
      @Controller()
      class OpenController {
        @Get('closed')
        closed() {
          return {};
        }

        @Public()
        @Get('open')
        open() {
          return {};
        }

        @OptionalToken()
        @Get('maybe')
        maybe(@CurrentUser() user: User | null) {
          return { known: user !== null };
        }
      }
      const app = await environment.boot({ options: { globalGuard: true }, controllers: [OpenController] });
      expect((await app.get('/closed')).json.code).toBe('token_missing');
      expect((await app.get('/open')).status).toBe(200);
      expect((await app.get('/maybe')).json).toEqual({ known: false });
      const { json } = await app.login((await app.createUser()).username);
      expect((await app.get('/closed', json.token)).status).toBe(200);
      expect((await app.get('/maybe', json.token)).json).toEqual({ known: true });
      expect((await app.post('/auth/logout', undefined, json.token)).status).toBe(204);
    });
  });
});

describe('The module', () => {
  @Controller('feature')
  @UseGuards(ExpiringTokenGuard)
  class FeatureController {
    @Get()
    get() {
      return {};
    }
  }

  @Module({ controllers: [FeatureController] })
  class FeatureModule {}

  onEveryEnvironment((environment) => {
    it('serves every module with isGlobal, and without it only those that import it', async () => {
      const app = await environment.boot({ options: { isGlobal: true }, imports: [FeatureModule] });
      expect((await app.get('/feature')).status).toBe(401);
      expect((await app.get('/feature', await app.token())).status).toBe(200);
      await expect(environment.boot({ imports: [FeatureModule] })).rejects.toThrow("can't resolve dependencies");
    });

    it('rejects all tokens after the prefix changes or the table is emptied', async () => {
      const app = await environment.boot({ options: { refresh: {} } });
      const users = [await app.createUser(), await app.createUser()];
      const pairs = await Promise.all(users.map(({ id }) => app.tokens.logIn(id)));
      const codes = async (one: TestApp) => {
        const answers = [];
        for (const { access, refresh } of pairs) {
          answers.push(await one.get('/me', access.plainText));
          answers.push(await one.post('/auth/refresh', { refreshToken: refresh!.plainText }));
        }
        return answers.map(({ json }) => json.code);
      };
      const invalidCodes = ['token_invalid', 'refresh_invalid', 'token_invalid', 'refresh_invalid'];
      const renamed = await environment.boot({ options: { refresh: {}, prefix: 'new_' } });
      expect(await codes(renamed)).toEqual(invalidCodes);
      expect((await app.get('/me', pairs[0]!.access.plainText)).status).toBe(200);
      await app.dataSource.query('DELETE FROM auth_token');
      expect(await codes(app)).toEqual(invalidCodes);
      expect((await app.login((await app.createUser()).username)).status).toBe(200);
    });

    it('keeps its tables in the configured data source', async () => {
      const app = await environment.boot({ options: { dataSource: 'sessions' }, typeOrm: { name: 'sessions' } });
      const { json } = await app.login((await app.createUser()).username);
      expect((await app.get('/me', json.token)).status).toBe(200);
    });

    it('serves its routes below a global prefix', async () => {
      const app = await environment.boot({ globalPrefix: 'api' });
      const { username } = await app.createUser();
      expect((await app.post('/api/auth/login', { username, password: 'wrong' })).json.code).toBe(
        'credentials_invalid',
      );
      const rawBody = 'hunter2SuperSecret';
      const headers = [['Content-Type', 'application/json']] as const;
      const answer = await app.send('/api/auth/login', { method: 'POST', headers, rawBody });
      expect(answer.status).toBe(400);
      expect(answer.text).not.toContain('hunter2');
    });

    it('does not change errors on other routes, even if its own routes have no prefix', async () => {
      const app = await environment.boot({ options: { path: '' } });
      const send = (path: string) =>
        app.send(path, { method: 'POST', headers: [['Content-Type', 'application/json']], rawBody: '{"a' });
      expect((await send('/login')).status).toBe(400);
      expect((await send('/login')).text).not.toContain('{"a');
      const other = await send('/me');
      expect(other.status).toBe(400);
      expect(other.json.code).not.toBe('validation_failed');
    });

    it("does not send its own parameters through the application's pipes", async () => {
      const refuseAll = { transform: () => Promise.reject(new BadRequestException('piped')) };
      @Module({ providers: [{ provide: APP_PIPE, useValue: refuseAll }] })
      class PipeModule {}
      const app = await environment.boot({ imports: [PipeModule] });
      const token = await app.token();
      expect((await app.get('/me', token)).json.message).toBe('piped');
      expect((await app.get('/auth/token', token)).status).toBe(200);
      expect((await app.get('/auth/devices', token)).status).toBe(200);
      expect((await app.post('/auth/logout-all', { keepCurrent: true }, token)).json).toEqual({ revoked: 0 });
      expect((await app.post('/auth/logout', undefined, token)).status).toBe(204);
    });

    it('provides the repositories of its entities', async () => {
      const app = await environment.boot();
      const user = await app.createUser();
      const { token } = await app.tokens.issue(user.id);
      expect(await app.nest.get(getRepositoryToken(Token)).findOneBy({ id: token.id })).toEqual(token);
      expect(await app.nest.get(getRepositoryToken(User)).findOneBy({ id: user.id })).toEqual(user);
    });

    it('serves no routes if routes is false, and its guard still works', async () => {
      const app = await environment.boot({ options: { routes: false } });
      expect((await app.post('/auth/login', {})).status).toBe(404);
      expect((await app.get('/auth/devices')).status).toBe(404);
      expect((await app.get('/me', await app.token())).status).toBe(200);
    });

    it('exports its service to an application-wide module', async () => {
      @Global()
      @Module({ imports: [ExpiringTokenModule.forRoot()], exports: [ExpiringTokenModule] })
      class AuthModule {}
      const app = await environment.boot({ module: [AuthModule], imports: [FeatureModule] });
      expect(app.nest.get(ExpiringTokenService)).toBeDefined();
      expect((await app.get('/feature', await app.token())).status).toBe(200);
    });
  });
});

describe('A request that is injected into Fastify without a socket', () => {
  onEveryEnvironment(
    (environment) => {
      it('is authenticated like any other, by the guard and by the Passport strategy', async () => {
        const app = await environment.boot();
        const { Authorization: authorization } = await actingAs(app.nest, await app.createUser());
        const inject = async (url: string, headers: object) =>
          (await app.nest.getHttpAdapter().getInstance().inject({ url, headers })).statusCode;
        for (const url of ['/me', '/passport']) {
          expect(await inject(url, { authorization }), url).toBe(200);
          expect(await inject(url, {}), url).toBe(401);
          // light-my-request before 6.8 joins the two lines to one, which holds no valid token.
          const refused = isOlder('light-my-request', '6.8.0') ? 401 : 400;
          expect(await inject(url, { authorization: [authorization, authorization] }), url).toBe(refused);
        }
      });
    },
    { adapters: ['fastify'], databases: ['sqlite'] },
  );
});

describe('Two applications in one process', () => {
  it.each([
    ['express', 'fastify'],
    ['express', 'express'],
    ['fastify', 'fastify'],
  ] as const)(
    'on %s and %s each know their own tokens in guard and Passport strategy, even after one was closed',
    async (...adapters) => {
      const [first, second] = adapters.map((adapter) => new TestEnvironment('sqlite', adapter)) as [
        TestEnvironment,
        TestEnvironment,
      ];
      await Promise.all([first.open(), second.open()]);
      const [one, two] = [await first.boot(), await second.boot()];
      const [tokenOfOne, tokenOfTwo] = [await one.token(), await two.token()];
      for (const path of ['/me', '/passport']) {
        expect((await one.get(path, tokenOfOne)).status, path).toBe(200);
        expect((await two.get(path, tokenOfTwo)).status, path).toBe(200);
        expect((await one.get(path, tokenOfTwo)).status, path).toBe(401);
        expect((await two.get(path, tokenOfOne)).status, path).toBe(401);
      }
      await second.close();
      expect((await one.get('/passport', tokenOfOne)).status).toBe(200);
      await first.close();
    },
  );
});

describe('The strategy name expiring-token in Passport', () => {
  const foreign = { authenticate: () => undefined } as unknown as Strategy;

  onEveryEnvironment(
    (environment) => {
      it.each([
        ['was given to another strategy', () => passport.use('expiring-token', foreign)],
        ['was taken from ours', () => passport.unuse('expiring-token')],
      ])('stops the start of an application that %s, and of no other application', async (_, change) => {
        @Module({})
        class DisturbingModule {
          onModuleInit() {
            change();
          }
        }
        const started = environment.boot({ imports: [DisturbingModule] });
        await expect(started).rejects.toThrow(ExpiringTokenOptionsError);
        await expect(started).rejects.toThrow('another Passport strategy, or none, is registered as "expiring-token"');
        const app = await environment.boot();
        expect((await app.get('/passport', await app.token())).status).toBe(200);
        expect((await app.get('/passport')).status).toBe(401);
      });
    },
    { databases: ['sqlite'] },
  );
});

describe('Guards of two applications', () => {
  let other: TestApp;

  class ForeignGuard implements CanActivate {
    canActivate(context: ExecutionContext) {
      return other.nest.get(ExpiringTokenGuard).canActivate(context);
    }
  }

  @Controller('both')
  class BothController {
    @Get()
    @UseGuards(ExpiringTokenGuard, ForeignGuard)
    get() {
      return {};
    }
  }

  it('each look up their own users, even if the guard of the other accepted the request', async () => {
    const stacks = [new TestEnvironment('sqlite', 'express'), new TestEnvironment('sqlite', 'express')] as const;
    for (const environment of stacks) await environment.open();
    other = await stacks[1].boot();
    const app = await stacks[0].boot({ controllers: [BothController] });
    expect(await app.get('/both', await app.token())).toMatchObject({ status: 401, json: { code: 'token_invalid' } });
    for (const environment of stacks) await environment.close();
  });
});

describe('A chain of Passport strategies', () => {
  @Controller('chain')
  class ChainController {
    @Get()
    @UseGuards(AuthGuard(['expiring-token', 'anybody']))
    get(@CurrentUser() user: unknown) {
      return user;
    }
  }

  it('goes on to the next strategy after a 401, and not after an outage', async () => {
    const anybody = {
      authenticate(this: { success(user: unknown): void }) {
        this.success({ id: 'anybody' });
      },
    };
    passport.use('anybody', anybody as unknown as Strategy);
    const environment = new TestEnvironment('sqlite', 'express');
    await environment.open();
    const app = await environment.boot({ controllers: [ChainController] });
    const user = await app.createUser();
    const token = await app.token(user.id);
    expect((await app.get('/chain', token)).json.id).toBe(user.id);
    expect((await app.get('/chain')).json.id).toBe('anybody');
    await app.dataSource.query('ALTER TABLE auth_token RENAME TO away');
    expect((await app.get('/chain', token)).status).toBe(503);
    await environment.close();
  });
});
