import { type CanActivate, Controller, type ExecutionContext, Get, Injectable, Post, UseGuards } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  type Credentials,
  CurrentToken,
  CurrentUser,
  ExpiringTokenGuard,
  hasScope,
  RequireAnyScope,
  RequireScopes,
  Token,
  type UserStore,
} from 'nestjs-expiring-token';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { onOneEnvironment, PASSWORD, TestEnvironment, type TestApp } from '../fixtures/app.js';
import { itHasATestForEachRowBelow } from '../fixtures/documented-rows.js';
import {
  AbleToken,
  at,
  DAY_MS,
  HOUR_MS,
  MINUTE_MS,
  notAnOption,
  refused,
  sanctumToken,
  start,
  use,
  onADatabaseOfItsOwn,
} from '../fixtures/predecessors.js';

/** A guard of the application that runs after the guard of the package. */
@Injectable()
class MayUpdateServers implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const { authInfo } = context.switchToHttp().getRequest<{ authInfo: { token: AbleToken } }>();
    return authInfo.token.abilities?.split(' ').includes('server:update') ?? false;
  }
}

@Controller('servers')
@UseGuards(ExpiringTokenGuard, MayUpdateServers)
class ServersController {
  @Post()
  update() {
    return { updated: true };
  }
}

@Controller('abilities')
@UseGuards(ExpiringTokenGuard)
class AbilitiesController {
  @RequireAnyScope('server:list', 'server:update')
  @Post('any')
  any() {
    return { done: true };
  }

  @RequireScopes('server:list', 'server:update')
  @Post('both')
  both() {
    return { done: true };
  }

  @Post('can')
  can(@CurrentToken() token: Token) {
    return { can: hasScope(token, 'server:update') };
  }
}

@Controller('whoami')
@UseGuards(ExpiringTokenGuard)
class WhoAmIController {
  @Get()
  whoAmI(@CurrentUser() user: { kind: string }) {
    return { kind: user.kind };
  }
}

/** Users of two classes, distinguished by their ids. */
class Admin {
  readonly kind = 'an administrator';
  constructor(readonly key: number) {}
}
class Customer {
  readonly kind = 'a customer';
  constructor(readonly key: number) {}
}

@Injectable()
class Owners implements UserStore<Admin | Customer> {
  findById(id: string): Promise<Admin | Customer | null> {
    const [kind, key] = id.split(':');
    return Promise.resolve(kind === 'admin' ? new Admin(Number(key)) : new Customer(Number(key)));
  }

  validateCredentials({ username }: Credentials): Promise<Admin | Customer | null> {
    return this.findById(username);
  }

  getId(owner: Admin | Customer): string {
    return `${owner instanceof Admin ? 'admin' : 'customer'}:${owner.key}`;
  }
}

describe('Coming from Laravel Sanctum', () => {
  // Databases have no part in these options: their own specs show them on each database.
  onOneEnvironment((environment) => {
    /** With default options. */
    let plain: TestApp;
    /** With the options of a project that comes from Sanctum. */
    let sanctum: TestApp;
    /** With a token entity that the application extends, and therefore on a database that no other application shares. */
    let able: TestApp;
    const separate = new TestEnvironment(environment.databaseName, environment.adapterName);
    beforeAll(async () => {
      plain = await environment.boot();
      sanctum = await environment.boot({
        options: {
          usernameField: 'email',
          imported: ['sanctum'],
          scopes: ['server:list', 'server:update'],
          isGlobal: true,
        },
        controllers: [AbilitiesController],
      });
      await separate.open();
      able = await separate.boot({ options: { tokenEntity: AbleToken }, controllers: [ServersController] });
    });
    afterAll(() => separate.close());

    const loginByEmail = (body: object) =>
      sanctum.send('/auth/login', { method: 'POST', body: { password: PASSWORD, ...body } });

    it('expiration: is lifespan in milliseconds, 30 days by default', async () => {
      const inMinutes = 60;
      const app = await environment.boot({ options: { lifespan: inMinutes * MINUTE_MS } });
      const token = await app.token();
      app.clock.advance(HOUR_MS - 1);
      expect((await app.get('/me', token)).status).toBe(200);
      app.clock.advance(1);
      refused(await app.get('/me', token), 401, 'token_expired');
      expect((await plain.get('/auth/token', await plain.token())).json.expiresAt).toBe(at(plain, 30 * DAY_MS));
    });

    it("expires_at: is the lifespan of issue, in place of the module's, shorter or longer", async () => {
      const user = await plain.createUser();
      const week = (await plain.tokens.issue(user.id, { lifespan: '7d' })).plainText;
      const year = (await plain.tokens.issue(user.id, { lifespan: '365d' })).plainText;
      plain.clock.advance(7 * DAY_MS);
      refused(await plain.get('/me', week), 401, 'token_expired');
      plain.clock.advance(300 * DAY_MS);
      expect((await plain.get('/me', year)).status).toBe(200);
    });

    it('token_prefix: is prefix', async () => {
      const app = await environment.boot({ options: { prefix: 'myapp_' } });
      expect(await app.token()).toMatch(/^myapp_/);
      expect(await plain.token()).toMatch(/^ext_/);
    });

    it('last_used_at: is lastUsedAt, as coarse as lastUsedAccuracy', async () => {
      const user = await plain.createUser();
      const { plainText } = await plain.tokens.issue(user.id);
      expect((await plain.tokens.list(user.id))[0]!.lastUsedAt).toBeNull();
      const firstUse = at(plain);
      expect(await use(plain, plainText)).toBe(firstUse);
      plain.clock.advance(MINUTE_MS);
      expect(await use(plain, plainText)).toBe(firstUse);
      expect((await plain.tokens.list(user.id))[0]!.lastUsedAt).toEqual(new Date(firstUse));
    });

    it('stateful: is no option, and a cookie is not read', async () => {
      const headers = [['Cookie', `laravel_session=${await plain.token()}`]] as const;
      refused(await plain.send('/me', { headers }), 401, 'token_missing');
      await notAnOption('stateful', ['localhost']);
    });

    it('GET /sanctum/csrf-cookie: is not there', async () => {
      const { status, headers } = await plain.get('/sanctum/csrf-cookie');
      expect(status).toBe(404);
      expect(headers).not.toHaveProperty('set-cookie');
    });

    it('auth:sanctum: is the guard', async () => {
      refused(await sanctum.get('/me'), 401, 'token_missing');
      expect((await sanctum.get('/me', await sanctum.token())).status).toBe(200);
    });

    it('createToken($name): is issue, and leaves the other tokens alone', async () => {
      const user = await plain.createUser();
      const [first, second] = [
        await plain.tokens.issue(user.id, { name: 'first' }),
        await plain.tokens.issue(user.id, { name: 'second' }),
      ];
      for (const [index, { plainText, token }] of [first, second].entries()) {
        expect((await plain.get('/auth/token', plainText)).json.name, `token ${index}`).toBe(token.name);
      }
    });

    it('plainTextToken: is plainText, and nothing shows it again', async () => {
      const user = await plain.createUser();
      const { plainText, token } = await plain.tokens.issue(user.id);
      const shown = JSON.stringify([
        token,
        await plain.tokens.list(user.id),
        (await plain.get('/me', plainText)).json,
        (await plain.get('/auth/devices', plainText)).json,
      ]);
      expect(shown).not.toContain(plainText);
      expect(shown).not.toContain('digest');
    });

    it('device_name: is deviceName of the login, beside an email and a password', async () => {
      const { username: email } = await sanctum.createUser();
      const { status, json } = await loginByEmail({ email, deviceName: "Ann's telephone" });
      expect(status).toBe(200);
      expect((await sanctum.get('/auth/token', json.token)).json.name).toBe("Ann's telephone");
      refused(await loginByEmail({ username: email }), 400, 'validation_failed', 'email must be a string');
    });

    it('Abilities: are scopes, and a token without a list may do everything', async () => {
      const { id } = await sanctum.createUser();
      const some = await sanctum.tokens.issue(id, { scopes: ['server:list'] });
      expect((await sanctum.get('/auth/token', some.plainText)).json.scopes).toEqual(['server:list']);
      expect((await sanctum.get('/me', some.plainText)).status).toBe(200);
      const all = await sanctum.tokens.issue(id);
      expect((await sanctum.post('/abilities/both', {}, all.plainText)).status).toBe(201);
      await expect(sanctum.tokens.issue(id, { scopes: ['*'] })).rejects.toThrow('scopes: "*" is not allowed');
    });

    const postWith = async (path: string, ...scopes: string[]) => {
      const { plainText } = await sanctum.tokens.issue((await sanctum.createUser()).id, { scopes });
      return sanctum.post(path, {}, plainText);
    };

    it('ability:a,b: is RequireAnyScope', async () => {
      expect((await postWith('/abilities/any', 'server:update')).status).toBe(201);
      refused(await postWith('/abilities/any'), 403, 'scope_insufficient');
    });

    it('abilities:a,b: is RequireScopes', async () => {
      expect((await postWith('/abilities/both', 'server:update', 'server:list')).status).toBe(201);
      refused(await postWith('/abilities/both', 'server:update'), 403, 'scope_insufficient');
    });

    it("tokenCan('a'): is hasScope", async () => {
      expect((await postWith('/abilities/can', 'server:update')).json).toEqual({ can: true });
      expect((await postWith('/abilities/can', 'server:list')).json).toEqual({ can: false });
    });

    it('$user->tokens: is list', async () => {
      const user = await plain.createUser();
      const { plainText } = await plain.tokens.issue(user.id, { name: 'import' });
      expect(await plain.tokens.list(user.id)).toMatchObject([{ name: 'import' }]);
      expect((await plain.get('/auth/devices', plainText)).json).toMatchObject([{ name: 'import', current: true }]);
    });

    it('currentAccessToken()->delete(): is logout, or revoke', async () => {
      const user = await plain.createUser();
      const [first, second] = [await plain.tokens.issue(user.id), await plain.tokens.issue(user.id)];
      expect((await plain.post('/auth/logout', undefined, first.plainText)).status).toBe(204);
      refused(await plain.get('/me', first.plainText), 401, 'token_invalid');
      const { token } = (await plain.get('/me', second.plainText)).json;
      expect(await plain.tokens.revoke(user.id, token.deviceId)).toBe(true);
      refused(await plain.get('/me', second.plainText), 401, 'token_invalid');
    });

    it('tokens()->delete(): is logout-all, or revokeAll', async () => {
      const user = await plain.createUser();
      const token = await plain.token(user.id);
      await plain.token(user.id);
      expect((await plain.post('/auth/logout-all', undefined, token)).json).toEqual({ revoked: 2 });
      await plain.token(user.id);
      expect(await plain.tokens.revokeAll(user.id)).toBe(1);
      expect(await plain.tokens.list(user.id)).toEqual([]);
    });

    it("tokens()->where('id', $id)->delete(): is revoke, or DELETE of the device", async () => {
      const user = await plain.createUser();
      const [here, first, second] = await Promise.all([1, 2, 3].map(() => plain.tokens.issue(user.id)));
      const { status } = await plain.send(`/auth/devices/${first!.token.deviceId}`, {
        method: 'DELETE',
        headers: [['Authorization', `Bearer ${here!.plainText}`]],
      });
      expect(status).toBe(204);
      expect(await plain.tokens.revoke(user.id, second!.token.deviceId)).toBe(true);
      expect((await plain.tokens.list(user.id)).map(({ id }) => id)).toEqual([here!.token.deviceId]);
    });

    it('sanctum:prune-expired --hours=24: is prune.retention, and prune does it immediately', () =>
      onADatabaseOfItsOwn(environment, async (own) => {
        const app = await own.boot({ options: { lifespan: '1h', prune: { retention: '24h' } } });
        const token = await app.token();
        app.clock.advance(25 * HOUR_MS - 1);
        await app.tokens.prune();
        refused(await app.get('/me', token), 401, 'token_expired');
        app.clock.advance(2);
        await app.tokens.prune();
        refused(await app.get('/me', token), 401, 'token_invalid');

        const manual = await own.boot({ options: { prune: false } });
        await manual.token();
        manual.clock.advance(37 * DAY_MS + 1);
        expect(await manual.tokens.prune()).toBe(1);
      }));

    it('usePersonalAccessTokenModel: is tokenEntity', async () => {
      const token = await able.token();
      expect((await able.get('/me', token)).json.token).toHaveProperty('abilities', null);
      await expect(start({ tokenEntity: class Other {} })).rejects.toThrow('extends Token');
    });

    it("authenticateAccessTokensUsing: is a guard of the application's own, which can only refuse", async () => {
      const user = await able.createUser();
      const { plainText } = await able.tokens.issue(user.id);
      expect((await able.post('/servers', {}, plainText)).status).toBe(403);
      able.clock.advance(30 * DAY_MS);
      refused(await able.post('/servers', {}, plainText), 401, 'token_expired');
    });

    it('getAccessTokenFromRequestUsing: the token is read from the header alone', async () => {
      const token = await plain.token();
      refused(await plain.get(`/me?access_token=${token}`), 401, 'token_missing');
      refused(await plain.send('/me', { headers: [['X-Api-Token', token]] }), 401, 'token_missing');
      refused(await plain.post('/me', { access_token: token }), 401, 'token_missing');
    });

    it('tokenable: one store can have users of several classes, with different ids', async () => {
      const app = await environment.boot({ options: { users: Owners }, controllers: [WhoAmIController] });
      const admin = (await app.tokens.issue('admin:7')).plainText;
      const customer = (await app.login('customer:7', 'any')).json.token;
      expect((await app.get('/whoami', admin)).json).toEqual({ kind: 'an administrator' });
      expect((await app.get('/whoami', customer)).json).toEqual({ kind: 'a customer' });
    });

    it('Sanctum::actingAs: is issue, or another guard', async () => {
      expect((await plain.get('/me', await plain.token())).status).toBe(200);
      const module = await Test.createTestingModule({ controllers: [WhoAmIController] })
        .overrideGuard(ExpiringTokenGuard)
        .useValue({
          canActivate(context: ExecutionContext) {
            context.switchToHttp().getRequest<{ user: unknown }>().user = new Customer(7);
            return true;
          },
        })
        .compile();
      const nest = module.createNestApplication();
      await nest.listen(0, '127.0.0.1');
      const answer = await fetch(new URL('/whoami', await nest.getUrl()));
      expect(await answer.json()).toEqual({ kind: 'a customer' });
      await nest.close();
    });

    it('Unauthenticated.: is 401 with a code that says what is wrong', async () => {
      const user = await plain.createUser();
      const { plainText } = await plain.tokens.issue(user.id, { lifespan: '1h' });
      refused(await plain.get('/me'), 401, 'token_missing');
      refused(await plain.get('/me', 'unknown'), 401, 'token_invalid');
      plain.clock.advance(HOUR_MS);
      refused(await plain.get('/me', plainText), 401, 'token_expired');
      await plain.users.setActive(user.id, false);
      refused(await plain.get('/me', plainText), 401, 'user_inactive');
    });

    it('Live tokens of Sanctum: are imported by their digests, and presented with the number or without', async () => {
      const user = await sanctum.createUser();
      const created = new Date(sanctum.clock.now - DAY_MS);
      const usual = sanctumToken();
      const prefixed = sanctumToken('myapp_');
      const week = sanctumToken();
      const tokens = [
        { userId: user.id, digest: usual.digest, created, name: 'telephone', lastUsedAt: created },
        { userId: user.id, digest: prefixed.digest, created },
        { userId: user.id, digest: week.digest, created, lifespan: '7d' },
      ] as const;
      expect(await sanctum.tokens.import(tokens)).toBe(3);
      expect(await sanctum.tokens.import(tokens)).toBe(0);
      for (const [kind, { plainText, secret }] of Object.entries({ usual, prefixed, week })) {
        for (const [form, presented] of Object.entries({ plainText, secret })) {
          expect((await sanctum.get('/me', presented)).json.user?.username, `${kind}, ${form}`).toBe(user.username);
        }
      }
      expect((await sanctum.get('/auth/token', usual.plainText)).json).toMatchObject({
        name: 'telephone',
        createdAt: created.toISOString(),
        expiresAt: new Date(created.getTime() + 30 * DAY_MS).toISOString(),
      });
      refused(await sanctum.get('/me', sanctumToken().plainText), 401, 'token_invalid');
      sanctum.clock.advance(6 * DAY_MS);
      refused(await sanctum.get('/me', week.plainText), 401, 'token_expired');
      expect((await sanctum.get('/me', usual.plainText)).status).toBe(200);
    });
  });

  itHasATestForEachRowBelow('Laravel Sanctum');
});
