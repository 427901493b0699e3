import { Controller, Get, RequestMethod, Req, type Type, UseGuards } from '@nestjs/common';
import { MetadataScanner } from '@nestjs/core';
import { AuthGuard } from '@nestjs/passport';
import {
  CurrentUser,
  ExpiringTokenGuard,
  OptionalToken,
  PersonalTokenService,
  Public,
  RequireLogin,
  RequireToken,
  type User,
} from 'nestjs-expiring-token';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { needOf } from '../lib/authentication/handler-requirements.js';
import { ROUTES } from '../lib/routes/routes.js';
import { ApiDocument } from './fixtures/api-document.js';
import { onEveryAdapter, onEveryEnvironment, onOneEnvironment, type TestApp } from './fixtures/app.js';
import { bearer } from './fixtures/http.js';

const LOGIN_REQUIRED = {
  statusCode: 403,
  error: 'Forbidden',
  message: 'A personal token is not accepted here',
  code: 'login_required',
};

/** A method and path of the module, and whether it needs a token. */
interface ModuleRoute {
  name: string;
  method: string;
  path: string;
  isPublic: boolean;
}

/** All routes of the module, from their metadata, so that a new one is tried too. */
const MODULE_ROUTES = Object.values(ROUTES).flatMap(({ controller }: { controller: Type }): ModuleRoute[] => {
  const { prototype } = controller as { prototype: Record<string, object> };
  return new MetadataScanner().getAllMethodNames(prototype).flatMap((method) => {
    const handler = prototype[method]!;
    if (!Reflect.hasMetadata('method', handler)) return [];
    const verb = RequestMethod[Reflect.getMetadata('method', handler)]!;
    const parts = [Reflect.getMetadata('path', controller), Reflect.getMetadata('path', handler)] as string[];
    const path = `/auth/${parts.filter((part) => part !== '/').join('/')}`.replaceAll(/\/+/g, '/');
    const isPublic = needOf(handler, controller) === 'public';
    return [
      {
        name: `${verb} ${path}`,
        method: verb,
        path: path.replace(':id', '01b8e094-9b2e-7000-8000-000000000000'),
        isPublic,
      },
    ];
  });
});

const nameOf = (user: User | null) => ({ name: user?.username ?? null });

@UseGuards(ExpiringTokenGuard)
@Controller('each')
class EachController {
  @Get('guarded')
  guarded(@CurrentUser() user: User) {
    return nameOf(user);
  }

  @RequireToken()
  @Get('token')
  token(@CurrentUser() user: User) {
    return nameOf(user);
  }

  @OptionalToken()
  @Get('optional')
  optional(@CurrentUser() user: User | null) {
    return nameOf(user);
  }

  @Public()
  @Get('public')
  public(@CurrentUser() user: User | null) {
    return nameOf(user);
  }

  @RequireLogin()
  @Get('login')
  login(@CurrentUser() user: User) {
    return nameOf(user);
  }

  @Public()
  @RequireLogin()
  @Get('public-login')
  publicLogin(@CurrentUser() user: User) {
    return nameOf(user);
  }
}

@RequireLogin()
@UseGuards(ExpiringTokenGuard)
@Controller('logins')
class LoginsController {
  @Get('plain')
  plain(@CurrentUser() user: User) {
    return nameOf(user);
  }

  @OptionalToken()
  @Get('optional')
  optional(@CurrentUser() user: User | null) {
    return nameOf(user);
  }

  @Public()
  @Get('public')
  public(@CurrentUser() user: User | null) {
    return nameOf(user);
  }

  @UseGuards(ExpiringTokenGuard)
  @Get('twice')
  twice(@CurrentUser() user: User) {
    return nameOf(user);
  }
}

@Controller('sublogins')
class SubloginsController extends LoginsController {
  @Get('added')
  added(@CurrentUser() user: User) {
    return nameOf(user);
  }
}

@Public()
@UseGuards(ExpiringTokenGuard)
@Controller('open')
class OpenController {
  @RequireLogin()
  @Get('closed')
  closed(@CurrentUser() user: User) {
    return nameOf(user);
  }
}

@UseGuards(AuthGuard('expiring-token'))
@Controller('strategy')
class StrategyController {
  @RequireLogin()
  @Get()
  read(@Req() { user }: { user: User }) {
    return nameOf(user);
  }
}

const CONTROLLERS = [EachController, LoginsController, SubloginsController, OpenController, StrategyController];

/** What becomes of a personal token on each path, and of a request without a token. */
const PATHS: [path: string, personal: 'user' | 'nobody' | 'login_required', without: 'nobody' | 'token_missing'][] = [
  ['/each/guarded', 'user', 'token_missing'],
  ['/each/token', 'user', 'token_missing'],
  ['/each/optional', 'user', 'nobody'],
  ['/each/public', 'nobody', 'nobody'],
  ['/each/login', 'login_required', 'token_missing'],
  ['/each/public-login', 'login_required', 'token_missing'],
  ['/logins/plain', 'login_required', 'token_missing'],
  ['/logins/optional', 'login_required', 'nobody'],
  ['/logins/public', 'nobody', 'nobody'],
  ['/logins/twice', 'login_required', 'token_missing'],
  ['/sublogins/plain', 'login_required', 'token_missing'],
  ['/sublogins/added', 'login_required', 'token_missing'],
  ['/open/closed', 'login_required', 'token_missing'],
];

describe('A personal token', () => {
  onEveryEnvironment((environment) => {
    let app: TestApp;
    let user: User;
    let personal: string;
    beforeAll(async () => {
      app = await environment.boot({ options: { personal: true, refresh: true }, controllers: CONTROLLERS });
    });
    beforeEach(async () => {
      user = await app.createUser();
      ({ plainText: personal } = await app.nest.get(PersonalTokenService).issue(user.id, { name: 'script' }));
    });

    const send = ({ method, path }: ModuleRoute, token: string) =>
      app.send(path, { method, headers: bearer(token), body: method === 'GET' ? undefined : {} });

    it.each(MODULE_ROUTES)('manages nothing: $name', async (route) => {
      const { status, json } = await send(route, personal);
      const accepted: Record<string, number> = { 'GET /auth/token': 200, 'POST /auth/logout': 204 };
      if (route.name in accepted) return expect(status).toBe(accepted[route.name]);
      if (route.isPublic) return expect([400, 401]).toContain(status);
      expect({ status, json }).toEqual({ status: 403, json: LOGIN_REQUIRED });
      const login = await app.token(user.id);
      expect((await send(route, login)).json?.code, 'with a login').not.toBe('login_required');
    });

    it('shows itself at GET /auth/token, and is revoked by POST /auth/logout, which ends no login', async () => {
      const login = await app.token(user.id);
      const [{ id }] = (await app.get('/auth/tokens', login)).json;
      expect((await app.get('/auth/token', personal)).json).toMatchObject({ deviceId: id, name: 'script' });
      const { status, text } = await app.post('/auth/logout', undefined, personal);
      expect({ status, text }).toEqual({ status: 204, text: '' });
      expect((await app.get('/me', personal)).json.code).toBe('token_invalid');
      expect((await app.get('/auth/tokens', login)).json).toEqual([]);
    });
  });

  onEveryAdapter((environment) => {
    let app: TestApp;
    let user: User;
    let personal: string;
    beforeAll(async () => {
      app = await environment.boot({ options: { personal: true, cache: true }, controllers: CONTROLLERS });
      user = await app.createUser();
      ({ plainText: personal } = await app.nest.get(PersonalTokenService).issue(user.id, { name: 'script' }));
    });

    it.each(PATHS)('on %s is %s, and a request without a token is %s', async (path, expected, without) => {
      const outcome = ({ json }: Awaited<ReturnType<TestApp['get']>>) =>
        json.code ?? (json.name === null ? 'nobody' : json.name === user.username ? 'user' : json.name);
      expect(outcome(await app.get(path, personal))).toBe(expected);
      // From the cache.
      expect(outcome(await app.get(path, personal))).toBe(expected);
      expect(outcome(await app.get(path))).toBe(without);
      expect(outcome(await app.get(path, 'nonsense'))).toBe(expected === 'nobody' ? 'nobody' : 'token_invalid');
      const login = await app.token(user.id);
      expect(outcome(await app.get(path, login))).toBe(expected === 'nobody' ? 'nobody' : 'user');
    });

    it('is rejected without a challenge, because another one of its kind would be rejected too', async () => {
      const { status, json, headers } = await app.get('/each/login', personal);
      expect({ status, json }).toEqual({ status: 403, json: LOGIN_REQUIRED });
      expect(headers).not.toHaveProperty('www-authenticate');
    });

    it('is accepted by the guard of the Passport strategy, which reads no decorators', async () => {
      expect((await app.get('/strategy', personal)).json).toEqual({ name: user.username });
    });
  });

  onOneEnvironment((environment) => {
    it('is rejected by a global guard too', async () => {
      @Controller()
      class Bare {
        @RequireLogin()
        @Get('bare')
        bare(@CurrentUser() user: User) {
          return nameOf(user);
        }
      }
      const app = await environment.boot({ options: { personal: true, globalGuard: true }, controllers: [Bare] });
      const { id } = await app.createUser();
      const { plainText } = await app.nest.get(PersonalTokenService).issue(id, { name: 'script' });
      expect((await app.get('/bare', plainText)).json).toEqual(LOGIN_REQUIRED);
      expect((await app.get('/bare', await app.token(id))).status).toBe(200);
    });
  });
});

describe('@RequireLogin()', () => {
  onOneEnvironment((environment) => {
    it('without a guard stops the start', async () => {
      @Controller('unguarded')
      class UnguardedController {
        @RequireLogin()
        @Get()
        secret() {
          return 'secret';
        }
      }
      await expect(environment.boot({ controllers: [UnguardedController] })).rejects.toThrow(
        'ExpiringTokenModule: @RequireLogin(): no guard protects UnguardedController.secret.',
      );
    });

    it('is in the documentation of the routes, if there are personal tokens', async () => {
      const documented = async (personal: boolean) => {
        const document = await ApiDocument.of(
          await environment.boot({ options: { personal }, controllers: CONTROLLERS }),
        );
        const routes = [
          ['get', '/auth/devices'],
          ['post', '/auth/logout-all'],
          ['get', '/auth/token'],
        ] as const;
        return routes.map(([method, path]) => '403' in document.operation(method, path).responses);
      };
      expect(await documented(true)).toEqual([true, true, false]);
      expect(await documented(false)).toEqual([false, false, false]);
    });
  });
});
